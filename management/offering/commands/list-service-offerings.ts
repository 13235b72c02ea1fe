import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { loadServiceOfferings, serviceOfferingView } from '../views.ts';
import { serviceOfferingKind, visibleTo } from '../visibility.ts';

export const listServiceOfferings = command({
  name: 'listServiceOfferings',
  about: 'Lists service offerings that the caller may use.',
  access: 'user',
  params: {
    ...pageParams,
    id: p.entity('only this service offering', serviceOfferingKind, 'list'),
    name: p.string('only service offerings of this name'),
    issystem: p.boolean('those for system VMs instead of those for users'),
    systemvmtype: p.string('only those for this kind of system VM: domainrouter, consoleproxy or secondarystoragevm'),
    cpunumber: p.integer('only those that can have so many CPUs'),
    memory: p.integer('only those that can have so much memory, in MiB'),
    cpuspeed: p.integer('only those that can have so many MHz'),
    state: p.word('Active unless given; All for both; only root admins see others than Active', ['Active', 'Inactive', 'All']),
    storagetype: p.word('only those with this storage', ['shared', 'local']),
  },
  reply: reply.list(serviceOfferingView),
  run: (context, params) => {
    const { caller } = context;
    const system = params.issystem === true;
    if (system && !isRootAdmin(caller)) throw new CloudError('Forbidden', 'only root admins can see system offerings');
    // A root admin who names one sees it whatever it is.
    const named = params.id !== undefined && isRootAdmin(caller);
    const state = isRootAdmin(caller) ? (params.state ?? (named ? 'All' : 'Active')) : 'Active';
    return list(context, params, {
      from: 'service_offering t',
      where: [
        where.sql('t.removed_at IS NULL'),
        visibleTo(caller),
        named ? null : where.equal('t.system', system),
        state === 'All' ? null : where.equal('t.state', state),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.system_vm_type', params.systemvmtype?.toLowerCase()),
        where.equal('t.storage_type', params.storagetype),
        fits('t.cpu_count', 't.min_cpu_count', 't.max_cpu_count', params.cpunumber),
        fits('t.memory_mib', 't.min_memory_mib', 't.max_memory_mib', params.memory),
        params.cpuspeed === undefined ? null : where.sql('COALESCE(t.cpu_mhz, ?) = ?', params.cpuspeed, params.cpuspeed),
      ],
      keyword: ['t.name', 't.display_text'],
      load: (ids) => loadServiceOfferings(context.db, ids),
    });
  },
});

const fits = (fixed: string, min: string, max: string, value: number | undefined) =>
  value === undefined
    ? null
    : where.sql(
        `(${fixed} = ? OR (${fixed} IS NULL AND COALESCE(${min}, ?) <= ? AND COALESCE(${max}, ?) >= ?))`,
        value,
        value,
        value,
        value,
        value,
      );
