/**
 * Names and addresses of the lab, all of them. They are fixed, so one machine can hold one lab. The address blocks are those set aside for
 * benchmarks (198.18.0.0/15) and documentation (203.0.113.0/24): they meet no real network.
 */
export type LabNetwork = 'management' | 'storage' | 'public';

export const topology = {
  /** A switch: bridges in a namespace without processes, addresses or routes. */
  switch: { namespace: 'nephos-lab', bridges: { management: 'br-mgmt', storage: 'br-stor', public: 'br-pub' }, mtuBytes: 9000 },
  networks: {
    management: { cidr: '198.18.0.0/24', prefixLength: 24 },
    storage: { cidr: '198.18.1.0/24', prefixLength: 24 },
    public: { cidr: '203.0.113.0/24', prefixLength: 24 },
  },
  /** The machine itself, where the management server listens. */
  machine: {
    management: { device: 'nephos-mgmt', switchPort: 'up-mgmt', address: '198.18.0.1', mtuBytes: 9000, routes: ['198.18.0.0/24'] },
    /**
     * Only the gateway and the upper half, not the whole network: there are name servers that answer with other addresses of this block (a proxy for
     * package mirrors, say), and the machine must go on reaching those.
     */
    public: {
      device: 'nephos-pub',
      switchPort: 'up-pub',
      address: '203.0.113.2',
      mtuBytes: 1500,
      routes: ['203.0.113.1/32', '203.0.113.128/25'],
    },
  },
  /** The public gateway and all there is of the internet. */
  internet: {
    name: 'nephos-inet',
    address: '203.0.113.1',
    httpPort: 80,
    dnsPort: 53,
    domain: 'internet.test',
    wwwName: 'www.internet.test',
  },
  nfs: { name: 'nephos-nfs', storageAddress: '198.18.1.5', managementAddress: '198.18.0.5', port: 2049, exportPath: '/secondary' },
  /** What a zone in the lab may hand out. Hosts and servers stand below .100; of the public network the machine itself reaches the upper half. */
  ranges: {
    podManagement: { first: '198.18.0.100', last: '198.18.0.199', gateway: '198.18.0.1', netmask: '255.255.255.0' },
    storage: { first: '198.18.1.100', last: '198.18.1.199', gateway: '198.18.1.5', netmask: '255.255.255.0' },
    public: { first: '203.0.113.130', last: '203.0.113.229', gateway: '203.0.113.1', netmask: '255.255.255.0' },
  },
  hostBridges: { management: 'cloudbr0', public: 'cloudbr1', storage: 'cloudbr2' },
  primaryMountPoint: '/var/lib/nephos/primary',
} as const;

export const HOSTS_MAX = 16;

/** One cable: a veth pair from a switch port to a device inside a machine of the lab. */
export interface Wire {
  readonly network: LabNetwork;
  readonly switchPort: string;
  readonly device: string;
  readonly mac: string;
  readonly mtuBytes: number;
  /** The bridge inside the machine that the device belongs to; the address then is the bridge's. */
  readonly bridge: string | null;
  readonly address: string | null;
}

export interface MachinePlan {
  readonly name: string;
  readonly wires: readonly Wire[];
}

export interface HostPlan extends MachinePlan {
  readonly number: number;
  readonly managementAddress: string;
  readonly storageAddress: string;
}

/** Locally administered, and the same at every start: neighbours keep their tables over a power cycle. */
const macOf = (network: LabNetwork, machineNumber: number): string => {
  const networkNumber = { management: 0, storage: 1, public: 2 }[network];
  return `02:c6:12:0${networkNumber}:00:${machineNumber.toString(16).padStart(2, '0')}`;
};

export const hostPlan = (number: number): HostPlan => {
  const managementAddress = `198.18.0.${10 + number}`;
  const storageAddress = `198.18.1.${10 + number}`;
  const mtuBytes = topology.switch.mtuBytes;
  const wire = (network: LabNetwork, device: string, short: string, address: string | null): Wire => ({
    network,
    switchPort: `h${number}-${short}`,
    device,
    mac: macOf(network, 10 + number),
    mtuBytes,
    bridge: topology.hostBridges[network],
    address,
  });
  return {
    number,
    name: `nephos-h${number}`,
    managementAddress,
    storageAddress,
    wires: [
      wire('management', 'eth0', 'mgmt', managementAddress),
      wire('public', 'eth1', 'pub', null),
      wire('storage', 'eth2', 'stor', storageAddress),
    ],
  };
};

export const hostPlans = (count: number): HostPlan[] => Array.from({ length: count }, (_, index) => hostPlan(index + 1));

export const internetPlan: MachinePlan = {
  name: topology.internet.name,
  wires: [
    {
      network: 'public',
      switchPort: 'inet-pub',
      device: 'eth0',
      mac: macOf('public', 1),
      // As the real internet: guests behind it have 1500 bytes and no way to say otherwise over UDP.
      mtuBytes: 1500,
      bridge: null,
      address: topology.internet.address,
    },
  ],
};

export const nfsPlan: MachinePlan = {
  name: topology.nfs.name,
  wires: [
    {
      network: 'storage',
      switchPort: 'nfs-stor',
      device: 'eth0',
      mac: macOf('storage', 5),
      mtuBytes: 9000,
      bridge: null,
      address: topology.nfs.storageAddress,
    },
    {
      network: 'management',
      switchPort: 'nfs-mgmt',
      device: 'eth1',
      mac: macOf('management', 5),
      mtuBytes: 9000,
      bridge: null,
      address: topology.nfs.managementAddress,
    },
  ],
};
