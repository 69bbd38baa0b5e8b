// Waits for a state that another process reaches.
import { setTimeout as sleep } from "node:timers/promises";

/** Return the first result that is not empty. A test that waits too long fails by the runner's timeout. */
export async function until(get) {
  while (true) {
    const result = await get();
    if (result) return result;
    await sleep(20);
  }
}
