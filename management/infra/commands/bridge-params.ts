import { p } from '../../core/params.ts';

/** A name that Linux takes for a network device. */
export const bridgeParam = () =>
  p.string('bridge that carries it on KVM hosts, such as cloudbr0', { max: 15, match: /^([A-Za-z0-9][A-Za-z0-9_.-]*)?$/ });
