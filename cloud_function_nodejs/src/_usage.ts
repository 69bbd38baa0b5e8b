/**
 * Measures what each request uses: its time, CPU and peak memory.
 *
 * What the kernel does not tell is unknown, and is left out. A measurement never fails a request.
 */

import { readFileSync, writeFileSync } from "node:fs";

import type { Usage } from "./_protocol.js";

/** Milliseconds between two samples of the memory while a request runs. */
const SAMPLE_INTERVAL_MS = 250;
/** A memory limit from here on, in bytes, is how the kernel says that there is none. */
const MAX_LIMIT = 2 ** 60;
/** Source: man 5 proc_pid_clear_refs ("Reset the peak resident set size"). */
const RESET_PEAK = "5";

/**
 * The memory and the CPUs of the container, from the kernel's control groups, version 2 or 1.
 *
 * Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
 */
export class Container {
  /** The memory limit, in bytes. */
  get memoryLimit(): number | undefined {
    const limit = number(group("memory.max")) ?? number(group("memory/memory.limit_in_bytes"));
    return limit && limit < MAX_LIMIT ? limit : undefined;
  }

  /** How many CPUs the container may use at once, such as 0.583. */
  get cpus(): number | undefined {
    const [quota, period] = group("cpu.max").split(" ");
    const used = number(quota || group("cpu/cpu.cfs_quota_us"));
    const of = number(period || group("cpu/cpu.cfs_period_us"));
    return used && of ? used / of : undefined;
  }

  /** The memory in use, in bytes, without the file cache that the kernel frees first; or 0 if it is unknown. */
  get memory(): number {
    const used = number(group("memory.current"));
    if (used) return Math.max(used - cached(group("memory.stat"), "inactive_file"), 0);
    const older = number(group("memory/memory.usage_in_bytes")) ?? 0;
    return Math.max(older - cached(group("memory/memory.stat"), "total_inactive_file"), 0);
  }
}

interface Measurement {
  peak: number;
  shared: boolean;
  started: number;
  cpuBefore: number;
}

/** Measures the requests that a process serves. */
export class UsageMeter {
  readonly #running = new Set<Measurement>();
  readonly #container: Container | undefined;
  #sampler: NodeJS.Timeout | undefined;

  constructor() {
    const container = new Container();
    this.#container = process.env.K_SERVICE && container.memoryLimit ? container : undefined;
  }

  /** Start to measure a request that arrived at a time of `performance.now()`. */
  start(arrived: number): Measurement {
    this.#sample(); // the peak until now is that of the requests before
    resetPeak();
    const measurement = { peak: 0, shared: false, started: arrived, cpuBefore: cpuSeconds() };
    this.#running.add(measurement);
    this.#sample();
    if (this.#running.size > 1) for (const each of this.#running) each.shared = true;
    this.#sampler ??= setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS).unref();
    return measurement;
  }

  /** Return what a request has used until now. */
  usage(measurement: Measurement): Usage {
    this.#sample();
    return {
      wall_seconds: micros((performance.now() - measurement.started) / 1000),
      cpu_seconds: micros(cpuSeconds() - measurement.cpuBefore),
      ...(measurement.peak && { peak_memory_bytes: measurement.peak }),
      ...(measurement.shared && { shared: true }),
    };
  }

  stop(measurement: Measurement): void {
    this.#running.delete(measurement);
    if (this.#running.size) return;
    clearInterval(this.#sampler);
    this.#sampler = undefined;
  }

  #sample(): void {
    if (!this.#running.size) return;
    const memory = Math.max(processPeak(), this.#container?.memory ?? 0);
    for (const each of this.#running) each.peak = Math.max(each.peak, memory);
  }
}

let wasReset = false;

function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", RESET_PEAK);
    wasReset = true;
  } catch {
    wasReset = false;
  }
}

/** The peak of the resident memory since the reset, in bytes. Where it cannot be reset, the memory now. */
function processPeak(): number {
  const peak = wasReset ? /^VmHWM:\s*([0-9]{1,15}) kB$/m.exec(read("/proc/self/status"))?.[1] : undefined;
  return peak ? Number(peak) * 1024 : process.memoryUsage.rss();
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function micros(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6;
}

function group(file: string): string {
  return read(`/sys/fs/cgroup/${file}`);
}

function cached(stat: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
}

function number(text: string | undefined): number | undefined {
  return text && /^0*[1-9][0-9]{0,18}$/.test(text) ? Number(text) : undefined;
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1").trim();
  } catch {
    return "";
  }
}
