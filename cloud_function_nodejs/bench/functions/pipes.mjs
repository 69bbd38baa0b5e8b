// The same function with this package.
import { pipesFunction } from "gcf-pipes";

export const main = pipesFunction((_req, pipes) => {
  pipes.log.info("hello");
  return { rows: 3 };
});
