/** Figures for Prometheus at /metrics. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface Metrics {
  apiCall: (command: string, status: number, seconds: number) => void;
  askDone: (message: string, outcome: string, seconds: number) => void;
  /** A figure that is read when Prometheus asks. */
  gauge: (name: string, about: string, read: () => number) => void;
  /** Counts that somebody else keeps, by one label. */
  counter: (name: string, about: string, label: string, read: () => Readonly<Record<string, number>>) => void;
  text: () => Promise<string>;
}

export function openMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'nephos_' });
  const registers = [registry];
  const buckets = [0.005, 0.02, 0.1, 0.5, 2, 10, 60];
  const calls = new Histogram({
    name: 'nephos_api_seconds',
    help: 'API calls by command and HTTP status',
    labelNames: ['command', 'status'],
    buckets,
    registers,
  });
  const asks = new Histogram({
    name: 'nephos_ask_seconds',
    help: 'Asks to agents by message and outcome',
    labelNames: ['message', 'outcome'],
    buckets,
    registers,
  });
  return {
    apiCall: (command, status, seconds) => calls.observe({ command, status }, seconds),
    askDone: (message, outcome, seconds) => asks.observe({ message, outcome }, seconds),
    gauge: (name, about, read) => {
      new Gauge({
        name: `nephos_${name}`,
        help: about,
        registers,
        collect() {
          this.set(read());
        },
      });
    },
    counter: (name, about, label, read) => {
      new Counter({
        name: `nephos_${name}`,
        help: about,
        labelNames: [label],
        registers,
        collect() {
          this.reset();
          for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count);
        },
      });
    },
    text: () => registry.metrics(),
  };
}
