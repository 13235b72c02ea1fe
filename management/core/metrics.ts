/** Figures for Prometheus at /metrics. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface Metrics {
  apiCall: (command: string, status: number, seconds: number) => void;
  askDone: (message: string, outcome: string, seconds: number) => void;
  linkRefused: (reason: string) => void;
  /** A figure that is read when Prometheus asks. */
  gauge: (name: string, about: string, read: () => number) => void;
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
  const refused = new Counter({
    name: 'nephos_link_refused_total',
    help: 'Connections to the agents port that were refused',
    labelNames: ['reason'],
    registers,
  });
  return {
    apiCall: (command, status, seconds) => calls.observe({ command, status }, seconds),
    askDone: (message, outcome, seconds) => asks.observe({ message, outcome }, seconds),
    linkRefused: (reason) => refused.inc({ reason }),
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
    text: () => registry.metrics(),
  };
}
