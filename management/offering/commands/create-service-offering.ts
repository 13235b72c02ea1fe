import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { serviceOfferings } from '../entities.ts';
import { newServiceOffering } from '../new-rows.ts';
import { CPU_COUNT_MAX, CPU_MHZ_MAX, MEMORY_MIB_MAX, MEMORY_MIB_MIN, MHZ_DEFAULT } from '../sizes.ts';
import { loadServiceOfferings, serviceOfferingView } from '../views.ts';
import { checkName, domainsFor, limitTo } from '../visibility.ts';

const cpuCount = { min: 1, max: CPU_COUNT_MAX };
const memoryMib = { min: MEMORY_MIB_MIN, max: MEMORY_MIB_MAX };

export const createServiceOffering = command({
  name: 'createServiceOffering',
  about: 'Creates a service offering: a size of virtual machines, or the limits within which users choose one.',
  access: 'domainAdmin',
  event: { type: 'SERVICE.OFFERING.CREATE', text: 'creating service offering', resource: 'ServiceOffering' },
  params: {
    name: required(p.string('the name of the service offering')),
    displaytext: p.string('the display text of the service offering; its name unless given'),
    cpunumber: p.integer('CPUs; without it and memory the user chooses', cpuCount),
    cpuspeed: p.integer(`MHz of a CPU; ${MHZ_DEFAULT} unless given`, { min: 1, max: CPU_MHZ_MAX }),
    memory: p.integer('memory in MiB; without it and cpunumber the user chooses', memoryMib),
    customized: p.boolean('whether the user chooses the size'),
    mincpunumber: p.integer('the fewest CPUs that the user may choose', cpuCount),
    maxcpunumber: p.integer('the most CPUs that the user may choose', cpuCount),
    minmemory: p.integer('the least memory in MiB that the user may choose', memoryMib),
    maxmemory: p.integer('the most memory in MiB that the user may choose', memoryMib),
    rootdisksize: p.long('GiB of the root disk; as large as the template unless given', { min: 1, max: 1_048_576 }),
    hosttags: p.string('tags that a host must have, separated by commas'),
    tags: p.string('tags that the storage pool of the root disk must have, separated by commas'),
    domainid: p.entities('only for the accounts in these domains and below them', domainKind, 'operate'),
  },
  reply: reply.one(serviceOfferingView),
  run: async ({ db, caller }, params) => {
    checkName(params.name, 'service offering');
    const row = newServiceOffering({
      name: params.name,
      displayText: params.displaytext ?? params.name,
      ...sizeFor(params),
      rootDiskSizeGib: params.rootdisksize ?? null,
      hostTags: tidyTags(params.hosttags),
      storageTags: tidyTags(params.tags),
    });
    await db.transact(async (tx) => {
      await tx.insert(serviceOfferings, row);
      await limitTo(tx, row.id, domainsFor(caller, params.domainid));
    });
    const [shown] = await loadServiceOfferings(db, [row.id]);
    if (!shown) throw new CloudError('Internal', 'the service offering was not written', { id: row.id });
    return shown;
  },
});

export const tidyTags = (text: string | undefined): string | null => {
  const tags = (text ?? '').split(',').map((tag) => tag.trim());
  const tidy = [...new Set(tags.filter((tag) => tag !== ''))].join(',');
  if (tidy.length > 255) throw new CloudError('InvalidParameter', 'the tags are longer than 255 characters');
  return tidy || null;
};

interface Sizes {
  readonly cpunumber?: number | undefined;
  readonly cpuspeed?: number | undefined;
  readonly memory?: number | undefined;
  readonly customized?: boolean | undefined;
  readonly mincpunumber?: number | undefined;
  readonly maxcpunumber?: number | undefined;
  readonly minmemory?: number | undefined;
  readonly maxmemory?: number | undefined;
}
export function sizeFor({ cpunumber, cpuspeed, memory, customized, mincpunumber, maxcpunumber, minmemory, maxmemory }: Sizes) {
  const fixed = cpunumber !== undefined || memory !== undefined;
  const limited = [mincpunumber, maxcpunumber, minmemory, maxmemory].some((limit) => limit !== undefined);
  if (fixed && customized)
    throw new CloudError('InvalidParameter', 'a customized service offering has no cpunumber and no memory: its user chooses them');
  if (fixed && limited)
    throw new CloudError(
      'InvalidParameter',
      'mincpunumber, maxcpunumber, minmemory and maxmemory are for offerings without cpunumber and memory',
    );
  if (customized === false && !fixed) throw new CloudError('InvalidParameter', 'give cpunumber and memory, or customized=true');
  if (!fixed) {
    if ((mincpunumber ?? 1) > (maxcpunumber ?? CPU_COUNT_MAX))
      throw new CloudError('InvalidParameter', 'mincpunumber is above maxcpunumber');
    if ((minmemory ?? MEMORY_MIB_MIN) > (maxmemory ?? MEMORY_MIB_MAX))
      throw new CloudError('InvalidParameter', 'minmemory is above maxmemory');
    return {
      cpuMhz: cpuspeed ?? null,
      minCpuCount: mincpunumber ?? null,
      maxCpuCount: maxcpunumber ?? null,
      minMemoryMib: minmemory ?? null,
      maxMemoryMib: maxmemory ?? null,
    };
  }
  if (cpunumber === undefined || memory === undefined)
    throw new CloudError('InvalidParameter', 'cpunumber and memory go together; without both the user chooses');
  return { cpuCount: cpunumber, cpuMhz: cpuspeed ?? MHZ_DEFAULT, memoryMib: memory };
}
