import { CloudError } from '../../../protocol/errors.ts';
import { Secret } from '../../../protocol/schema.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { addHost as add } from '../add-host.ts';
import { hypervisorNames } from '../entities.ts';
import { readHostUrl } from '../host-url.ts';
import { hostView, loadHosts } from '../host-views.ts';
import { clusterKind, podKind, zoneKind } from '../kinds.ts';
import { hostTagsParam, readHostTags } from './host-params.ts';
import { allocationStateParam } from './zone-params.ts';

export const addHost = command({
  name: 'addHost',
  about: 'Adds a host: installs the agent there over ssh and waits until it has connected.',
  access: 'admin',
  event: { type: 'HOST.CREATE', text: 'adding host' },
  params: {
    zoneid: required(p.entity('zone of the host', zoneKind, 'operate')),
    podid: required(p.entity('pod of the host', podKind, 'operate')),
    clusterid: p.entity('cluster of the host', clusterKind, 'operate'),
    hypervisor: required(p.word('the hypervisor of its cluster', hypervisorNames)),
    url: required(p.string('http:// and the address of the host, with the port of ssh unless it is 22')),
    username: p.string('who logs in over ssh; root unless given', { max: 32, match: /^([a-z_][a-z0-9_.-]*)?$/ }),
    password: p.string("password for ssh; without it the cloud's own ssh key is used"),
    hosttags: hostTagsParam(),
    allocationstate: allocationStateParam('Disabled: it takes no machines until updateHost enables it; Enabled unless given'),
  },
  // The contract answers with a list of one.
  reply: reply.list(hostView),
  run: async (context, params) => {
    const { zoneid: zone, podid: pod, clusterid: cluster, hypervisor, password } = params;
    if (!cluster) throw new CloudError('InvalidParameter', 'clusterid is needed; make a cluster with addCluster');
    if (pod.zoneId !== zone.id) throw new CloudError('InvalidParameter', `the pod ${pod.name} is not in the zone ${zone.name}`);
    if (cluster.podId !== pod.id) throw new CloudError('InvalidParameter', `the cluster ${cluster.name} is not in the pod ${pod.name}`);
    if (cluster.hypervisor !== hypervisor)
      throw new CloudError('InvalidParameter', `the hosts of the cluster ${cluster.name} run ${cluster.hypervisor}, not ${hypervisor}`);
    const place = readHostUrl(params.url);
    if ((place.kind === 'simulated') !== (hypervisor === 'Simulator'))
      throw new CloudError('InvalidParameter', 'the hosts of a Simulator cluster, and no others, have a url of the form http://sim/…');
    if (place.kind === 'simulated' && !context.config.simulator)
      throw new CloudError('InvalidParameter', 'simulated hosts are not allowed here: the configuration of the management server says so');
    const id = await add(context, {
      cluster,
      place,
      username: params.username || 'root',
      password: password ? new Secret(password) : null,
      tags: readHostTags(params.hosttags ?? []),
      enable: params.allocationstate !== 'Disabled',
    });
    const rows = await loadHosts(context, [id]);
    return { count: rows.length, rows };
  },
});
