/** Gathers messages into chunks and decides when to upload them. It has no storage of its own. */

/** The buffer takes no more messages. */
export class SealedError extends Error {}

/** Some messages, ready to be uploaded as one object. */
export interface Chunk {
  data: Uint8Array;
  messageCount: number;
}

export interface ChunkBufferOptions {
  /** Seconds from the first message of a chunk until the chunk is due. */
  flushInterval: number;
  /** Size at which a chunk is full, in bytes. A larger message is a chunk by itself. */
  maxChunkBytes: number;
  /** Size at which the buffer is full, in bytes. A larger message goes in when it is empty. */
  maxBufferBytes: number;
}

interface Line {
  data: Uint8Array;
  dueAt: number;
}

interface Waiter {
  data: Uint8Array;
  resolve: () => void;
  reject: (error: Error) => void;
}

/**
 * A bounded buffer between the code that writes messages and the task that uploads them.
 *
 * A chunk is due when it is full, or when the flush interval since its first message has passed. While the buffer is
 * full, `put` waits, `offer` drops, and a chunk is due.
 *
 * A sealed buffer accepts no more messages, except the last ones from `endWriting`. A failed buffer keeps nothing.
 */
export class ChunkBuffer {
  #lines: Line[] = [];
  #bytes = 0;
  #waiters: Waiter[] = [];
  #dropped = 0;
  #sealed = false;
  #writingEnded = false;
  #failed = false;
  #notify: () => void = () => {};

  constructor(readonly options: ChunkBufferOptions) {}

  /** How many messages were dropped because the buffer was full or has failed. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether no chunk will be due any more. */
  get drained(): boolean {
    return this.#failed || (this.#writingEnded && !this.#lines.length);
  }

  /** Add a message, at once if there is room. Otherwise it waits, and later ones wait behind it. */
  put(data: Uint8Array): Promise<void> {
    if (this.#sealed) return Promise.reject(new SealedError());
    if (this.#failed || (!this.#waiters.length && this.#hasRoom(data.length))) {
      this.#append(data);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ data, resolve, reject });
      this.#notify();
    });
  }

  /** Add a message if there is room, and drop it otherwise. */
  offer(data: Uint8Array): void {
    if (this.#sealed) throw new SealedError();
    if (!this.#failed && (this.#waiters.length || !this.#hasRoom(data.length))) this.#dropped++;
    else this.#append(data);
  }

  /** Refuse the messages that wait for room. */
  refuseWaiting(error: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  /** Accept no more messages, not even those that wait for room. Return how many were dropped. */
  seal(): number {
    if (this.#sealed) throw new SealedError();
    this.#sealed = true;
    this.refuseWaiting(new SealedError());
    return this.#dropped;
  }

  /** Seal the buffer and add its last messages, even if they do not fit. All its messages are due now. */
  endWriting(...lastLines: Uint8Array[]): void {
    for (const line of lastLines) this.#append(line);
    this.#sealed = this.#writingEnded = true;
    this.refuseWaiting(new SealedError());
    this.#notify();
  }

  /** Drop all messages, now and later. */
  fail(): void {
    this.#failed = true;
    this.#dropped += this.#lines.length + this.#waiters.length;
    this.#lines = [];
    this.#bytes = 0;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
    this.#notify();
  }

  /** Wait until a chunk is due and take it. Undefined after that many seconds, or if the buffer is drained. */
  async take(seconds: number): Promise<Chunk | undefined> {
    const giveUpAt = performance.now() + seconds * 1000;
    while (!this.#isDue() && !this.drained) {
      const now = performance.now();
      if (now >= giveUpAt) return undefined;
      await this.#changed(Math.min(giveUpAt, this.#lines[0]?.dueAt ?? giveUpAt) - now);
    }
    return this.#isDue() ? this.#take() : undefined;
  }

  #changed(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(milliseconds, 0));
      this.#notify = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #hasRoom(size: number): boolean {
    return this.#bytes === 0 || this.#bytes + size <= this.options.maxBufferBytes;
  }

  #append(data: Uint8Array): void {
    if (this.#failed) {
      this.#dropped++;
      return;
    }
    this.#lines.push({ data, dueAt: performance.now() + this.options.flushInterval * 1000 });
    this.#bytes += data.length;
    if (this.#lines.length === 1 || this.#bytes >= this.options.maxChunkBytes) this.#notify();
  }

  #isDue(): boolean {
    const first = this.#lines[0];
    if (!first) return false;
    const full = this.#bytes >= this.options.maxChunkBytes || this.#waiters.length > 0;
    return this.#writingEnded || full || performance.now() >= first.dueAt;
  }

  #take(): Chunk {
    let count = 1;
    let size = (this.#lines[0] as Line).data.length;
    for (; count < this.#lines.length; count++) {
      const next = (this.#lines[count] as Line).data.length;
      if (size + next > this.options.maxChunkBytes) break;
      size += next;
    }
    const lines = this.#lines.splice(0, count);
    this.#bytes -= size;
    this.#admitWaiting();
    return {
      data: Buffer.concat(
        lines.map((line) => line.data),
        size,
      ),
      messageCount: count,
    };
  }

  #admitWaiting(): void {
    let admitted = 0;
    for (const { data, resolve } of this.#waiters) {
      if (!this.#hasRoom(data.length)) break;
      this.#append(data);
      resolve();
      admitted++;
    }
    this.#waiters.splice(0, admitted);
  }
}
