import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { describe, test } from 'node:test';
import { RouterConfiguration } from '../protocol/messages/router.ts';
import { networkServiceSections } from '../protocol/network-services/index.ts';
import { parse } from '../protocol/schema.ts';
import { runCommand } from '../systemvm/commands.ts';
import { fingerprintOf } from './apply.ts';
import { compileAddresses, compileRouter } from './compile.ts';
import { definition } from './definition.ts';
import { cidr, hostName, networkOf } from './encoders.ts';
import { metadataBody, namesBelow } from './guest-services.ts';
import { isRoot } from './harness.ts';
import { blockDigests } from './rules.ts';
import { egressLines, mergePorts, withoutNested } from './services/firewall.ts';
import { services } from './services/index.ts';

const configuration: RouterConfiguration = {
  generation: 3,
  guest: { device: 'eth0', address: '10.1.1.1', prefix: 24, mtu: 1450 },
  public: { device: 'eth2', address: '203.0.113.10', prefix: 24, gateway: '203.0.113.1' },
  dhcp: {
    gateway: '10.1.1.1',
    netmask: '255.255.255.0',
    dnsServers: ['10.1.1.1'],
    domain: 'cs1.cloud.internal',
    mtu: 1450,
    leaseSeconds: 3600,
    hosts: [
      { mac: '02:00:00:00:00:21', address: '10.1.1.21', hostName: 'ignore' },
      { mac: '02:00:00:00:00:03', address: '10.1.1.3', hostName: 'Web.other.example' },
    ],
  },
  dns: {
    domain: 'cs1.cloud.internal',
    forwarders: ['203.0.113.53'],
    records: [
      { name: 'web', address: '10.1.1.21' },
      { name: 'db.cs1.cloud.internal', address: '10.1.1.3' },
      { name: 'outside.example', address: '198.51.100.1' },
    ],
  },
  sourceNat: { publicAddress: '203.0.113.10' },
  userData: { guests: [] },
  firewall: {
    egressDefault: 'deny',
    egress: [
      { sourceCidr: '10.1.1.0/24', destinationCidr: '0.0.0.0/0', match: { protocol: 'tcp', startPort: 80, endPort: 90 } },
      { sourceCidr: '10.1.1.0/24', destinationCidr: '0.0.0.0/0', match: { protocol: 'tcp', startPort: 443, endPort: 443 } },
      { sourceCidr: '10.1.1.0/24', destinationCidr: '0.0.0.0/0', match: { protocol: 'tcp', startPort: 85, endPort: 100 } },
      { sourceCidr: '10.1.1.3/32', destinationCidr: '198.51.100.0/24', match: { protocol: 'all' } },
      { sourceCidr: '10.1.1.0/24', destinationCidr: '0.0.0.0/0', match: { protocol: 'icmp', icmpType: 8, icmpCode: -1 } },
    ],
  },
};

const DNSMASQ = `interface=eth0
except-interface=lo
listen-address=10.1.1.1
bind-interfaces
no-hosts
no-resolv
no-poll
dhcp-leasefile=/run/r/leases
dhcp-range=10.1.1.0,static,255.255.255.0,3600
dhcp-authoritative
dhcp-ignore=tag:!known
dhcp-ignore-names
dhcp-lease-max=65536
no-ping
domain=cs1.cloud.internal
dhcp-option=option:router,10.1.1.1
dhcp-option=option:dns-server,10.1.1.1
dhcp-option=option:mtu,1450
dhcp-option=option:domain-search,cs1.cloud.internal
dhcp-option=tag:aside,option:router
dhcp-option=tag:aside,option:dns-server
dhcp-option=tag:aside,option:domain-name
dhcp-option=tag:aside,option:domain-search
local=/cs1.cloud.internal/
server=203.0.113.53
domain-needed
bogus-priv
cache-size=2000
dns-forward-max=300
neg-ttl=30
dhcp-hostsfile=/run/r/dhcp-hosts
addn-hosts=/run/r/dns-hosts
`;
const RULESET = `table inet nephos_router
delete table inet nephos_router
table inet nephos_router {
  set guests {
    type ether_addr . ipv4_addr
    elements = { 02:00:00:00:00:03 . 10.1.1.3,
      02:00:00:00:00:21 . 10.1.1.21 }
  }
  flowtable fast {
    hook ingress priority filter
    devices = { eth0, eth2 }
  }
  chain source_nat {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "eth2" ip saddr 10.1.1.0/24 snat ip to 203.0.113.10
  }
  chain user_data {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "eth0" ip daddr 169.254.169.254 tcp dport 80 dnat ip to 10.1.1.1
  }
  chain user_data_guard {
    type filter hook input priority -10; policy accept;
    iifname "eth0" tcp dport { 80, 8080 } ether saddr . ip saddr != @guests drop
  }
  chain egress {
    ip saddr 10.1.1.0/24 icmp type 8 accept
    ip saddr 10.1.1.0/24 tcp dport { 80-100, 443 } accept
    ip saddr 10.1.1.3/32 ip daddr 198.51.100.0/24 accept
    reject with icmpx type admin-prohibited
  }
  chain spoofed {
    type filter hook prerouting priority raw; policy accept;
    iifname "eth0" ip saddr 0.0.0.0 udp dport 67 accept
    iifname "eth0" ip saddr != 10.1.1.0/24 drop
    iifname "eth0" ip saddr 10.1.1.1 drop
    iifname != { "eth0", "lo" } ip saddr 10.1.1.0/24 drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    meta nfproto ipv6 drop
    ct state established meta l4proto { tcp, udp } flow add @fast
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname . oifname vmap { "eth0" . "eth2" : jump egress }
  }
}
`;

/** The same numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('from configuration to files', () => {
  test('a NIC that is not its machine’s default one is marked', () => {
    const [first, ...others] = configuration.dhcp?.hosts ?? [];
    assert.ok(configuration.dhcp && first);
    const aside = { ...configuration, dhcp: { ...configuration.dhcp, hosts: [{ ...first, isDefault: false }, ...others] } };
    assert.match(
      compileRouter(aside, '/run/r').dnsmasq?.files['/run/r/dhcp-hosts'] ?? '',
      /^02:00:00:00:00:21,set:aside,10\.1\.1\.21,ignore\.cs1\.cloud\.internal$/m,
    );
  });

  test('dnsmasq’s configuration and hosts', () => {
    const plan = compileRouter(configuration, '/run/r').dnsmasq;
    assert.equal(plan?.configuration, DNSMASQ);
    assert.deepEqual(plan?.files, {
      // `ignore` alone would be a word of dnsmasq's.
      '/run/r/dhcp-hosts': '02:00:00:00:00:03,10.1.1.3,web.cs1.cloud.internal\n02:00:00:00:00:21,10.1.1.21,ignore.cs1.cloud.internal\n',
      '/run/r/dns-hosts': '10.1.1.3 db.cs1.cloud.internal db\n10.1.1.21 web.cs1.cloud.internal web\n198.51.100.1 outside.example\n',
    });
  });

  test('the ruleset', () => {
    assert.equal(compileRouter(configuration, '/run/r').ruleset({ flowtable: true }), RULESET);
  });

  test('addresses are set only where they are not so', () => {
    const asWanted = {
      nics: new Map([
        ['eth0', { addresses: ['10.1.1.1/24'], mtu: 1450 }],
        ['eth2', { addresses: ['203.0.113.10/24'], mtu: 1500 }],
      ]),
      defaultRoutes: [{ device: 'eth2', gateway: '203.0.113.1' }],
    };
    assert.equal(compileAddresses(configuration, asWanted), '');
    assert.equal(compileAddresses(configuration, { ...asWanted, defaultRoutes: [] }), 'route replace default via 203.0.113.1 dev eth2\n');
    asWanted.nics.set('eth2', { addresses: ['203.0.113.11/24'], mtu: 1500 });
    assert.equal(
      compileAddresses(configuration, asWanted),
      `addr flush dev eth2
addr add 203.0.113.10/24 broadcast + dev eth2
link set dev eth2 up
route replace default via 203.0.113.1 dev eth2
`,
    );
  });

  test('a configuration with its lists in another order gives the same files', () => {
    const turned = structuredClone(configuration);
    for (const list of [turned.dhcp?.hosts, turned.dns?.records, turned.firewall?.egress]) list?.reverse();
    const [one, other] = [configuration, turned].map((each) => compileRouter(each, '/run/r'));
    assert.deepEqual(one?.dnsmasq, other?.dnsmasq);
    assert.equal(one?.ruleset({ flowtable: false }), other?.ruleset({ flowtable: false }));
  });

  test('a service that is off leaves nothing, and without source NAT there is no way out', () => {
    const off = compileRouter({ ...configuration, dhcp: null, dns: null, userData: null, firewall: null, sourceNat: null }, '/run/r');
    assert.equal(off.dnsmasq, null);
    const rules = off.ruleset({ flowtable: true });
    for (const word of ['egress }', 'snat', 'dnat', '@guests', 'flowtable']) assert.equal(rules.includes(word), false, word);
    assert.match(compileRouter({ ...configuration, dns: null }, '/run/r').dnsmasq?.configuration ?? '', /^port=0\n/);
    assert.doesNotMatch(compileRouter({ ...configuration, dhcp: null }, '/run/r').dnsmasq?.configuration ?? '', /dhcp-range/);
  });

  test('every network service of the protocol has its file, and there is no other', () => {
    assert.deepEqual(Object.keys(services).sort(), Object.keys(networkServiceSections).sort());
    for (const block of compileRouter(configuration, '/run/r').blockOwners.values()) assert.ok(Object.hasOwn(services, block));
  });

  test('SV-22: a router has a guest, a control and a public NIC, in this order', () => {
    assert.deepEqual(definition.nics, ['guest', 'control', 'public']);
    assert.equal(definition.wanted({ enabled: true, sessions: 0, sessionsPerVm: 1, standby: 0 }), 1);
    assert.equal(definition.wanted({ enabled: false, sessions: 9, sessionsPerVm: 1, standby: 0 }), 0);
  });

  test('equal configurations have equal fingerprints, whatever the order of their fields', () => {
    const { generation, ...rest } = configuration;
    assert.equal(fingerprintOf({ ...rest, generation }), fingerprintOf(configuration));
    assert.notEqual(fingerprintOf({ ...configuration, generation: 4 }), fingerprintOf(configuration));
  });
});

describe('egress rules', () => {
  test('ports that overlap or touch are joined', () => {
    assert.deepEqual(
      mergePorts(
        [
          [443, 443],
          [80, 90],
          [85, 100],
          [101, 101],
          [1, 65_535],
        ].map(([a = 0, b = 0]) => [a, b] as const),
      ),
      [[1, 65_535]],
    );
    assert.deepEqual(
      mergePorts([
        [5, 6],
        [8, 9],
      ]),
      [
        [5, 6],
        [8, 9],
      ],
    );
  });

  test('networks inside others go', () => {
    assert.deepEqual(withoutNested(['10.1.1.5/32', '10.1.0.0/16', '10.2.0.0/24', '10.1.1.0/24']), ['10.1.0.0/16', '10.2.0.0/24']);
  });

  test('a thousand rules of one kind are one line', () => {
    const rules = Array.from({ length: 1000 }, (_, index) => ({
      sourceCidr: '10.1.1.0/24',
      destinationCidr: '0.0.0.0/0',
      match: { protocol: 'tcp' as const, startPort: index * 3 + 1, endPort: index * 3 + 1 },
    }));
    assert.equal(egressLines(rules, 'accept').length, 1);
  });

  test('the lines let pass exactly what the rules say', () => {
    const next = numbers(7);
    const bits = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    const isIn = (address: string, network: string): boolean => {
      const [start = '', prefix = '0'] = network.split('/');
      const size = 2 ** (32 - Number(prefix));
      return Math.floor(bits(address) / size) === Math.floor(bits(start) / size);
    };
    const setOf = (text: string | undefined): string[] =>
      text
        ?.replace(/[{}]/g, '')
        .split(',')
        .map((word) => word.trim()) ?? [];
    for (let round = 0; round < 60; round++) {
      const egress = Array.from({ length: 1 + next(12) }, () => ({
        sourceCidr: cidr(`10.1.1.${next(8)}/${24 + next(9)}`),
        destinationCidr: next(4) === 0 ? '0.0.0.0/0' : cidr(`198.51.${next(2)}.${next(8)}/${22 + next(11)}`),
        match: { protocol: next(2) === 0 ? ('tcp' as const) : ('udp' as const), startPort: 1 + next(20), endPort: 1 + next(20) },
      }));
      const lines = egressLines(egress, 'accept');
      for (let probe = 0; probe < 200; probe++) {
        const packet = {
          from: `10.1.1.${next(10)}`,
          to: `198.51.${next(3)}.${next(10)}`,
          protocol: next(2) === 0 ? 'tcp' : 'udp',
          port: next(24),
        };
        const byRules = egress.some(
          ({ sourceCidr, destinationCidr, match }) =>
            isIn(packet.from, sourceCidr) &&
            isIn(packet.to, destinationCidr) &&
            match.protocol === packet.protocol &&
            packet.port >= Math.min(match.startPort, match.endPort) &&
            packet.port <= Math.max(match.startPort, match.endPort),
        );
        const byLines = lines.some((line) => {
          const parts = /^(?:ip saddr (\{.*?\}|\S+) )?(?:ip daddr (\{.*?\}|\S+) )?(tcp|udp) dport (\{.*?\}|\S+) accept$/.exec(line);
          assert.ok(parts, line);
          const [, sources, destinations, protocol, ports] = parts;
          return (
            (sources === undefined || setOf(sources).some((network) => isIn(packet.from, network))) &&
            (destinations === undefined || setOf(destinations).some((network) => isIn(packet.to, network))) &&
            protocol === packet.protocol &&
            setOf(ports).some((range) => {
              const [start = '', end = start] = range.split('-');
              return packet.port >= Number(start) && packet.port <= Number(end);
            })
          );
        });
        assert.equal(byLines, byRules, `${JSON.stringify(packet)}\n${lines.join('\n')}\n${JSON.stringify(egress)}`);
      }
    }
  });
});

describe('hostile strings', () => {
  const dictionary = [
    ...['$(touch /tmp/x)', '`id`', '; id', '\n', 'a\nserver=/#/198.51.100.9', 'a b', 'a,b', '"', "'", '\\', '{', '}', '#', '%', '\0', '\t'],
    ...['-leading', '--conf-file=/etc/passwd', '..', '.', '', ' ', 'é', '\u202e', 'a/b', '/etc/passwd', '@guests', 'a;b', '$IFS', 'a\r\nb'],
  ];

  test('are refused by the schema wherever a string goes into a file', () => {
    const places: ((wanted: RouterConfiguration, value: string) => void)[] = [
      (wanted, value) => Object.assign(wanted.guest, { device: value }),
      (wanted, value) => Object.assign(wanted.guest, { address: value }),
      (wanted, value) => Object.assign(wanted.public ?? {}, { device: value }),
      (wanted, value) => Object.assign(wanted.public ?? {}, { gateway: value }),
      (wanted, value) => Object.assign(wanted.dhcp ?? {}, { gateway: value }),
      (wanted, value) => Object.assign(wanted.dhcp ?? {}, { netmask: value }),
      (wanted, value) => Object.assign(wanted.dhcp ?? {}, { domain: value }),
      (wanted, value) => Object.assign(wanted.dhcp ?? {}, { dnsServers: [value] }),
      (wanted, value) => Object.assign(wanted.dhcp?.hosts[0] ?? {}, { mac: value }),
      (wanted, value) => Object.assign(wanted.dhcp?.hosts[0] ?? {}, { address: value }),
      (wanted, value) => Object.assign(wanted.dhcp?.hosts[0] ?? {}, { hostName: value }),
      (wanted, value) => Object.assign(wanted.dns ?? {}, { domain: value }),
      (wanted, value) => Object.assign(wanted.dns ?? {}, { forwarders: [value] }),
      (wanted, value) => Object.assign(wanted.dns?.records[0] ?? {}, { name: value }),
      (wanted, value) => Object.assign(wanted.dns?.records[0] ?? {}, { address: value }),
      (wanted, value) => Object.assign(wanted.sourceNat ?? {}, { publicAddress: value }),
      (wanted, value) => Object.assign(wanted.firewall?.egress[0] ?? {}, { sourceCidr: value }),
      (wanted, value) => Object.assign(wanted.firewall?.egress[0] ?? {}, { destinationCidr: value }),
    ];
    for (const place of places)
      for (const value of dictionary) {
        const wanted = structuredClone(configuration);
        place(wanted, value);
        assert.throws(() => parse(RouterConfiguration, wanted, 'configuration'), `${place} ${JSON.stringify(value)}`);
        // The encoders are the second lock: they refuse it also when the schema did not look.
        assert.throws(
          () => {
            compileRouter(wanted, '/run/r').ruleset({ flowtable: true });
            compileAddresses(wanted, { nics: new Map(), defaultRoutes: [] });
          },
          `${place} ${JSON.stringify(value)}`,
        );
      }
  });

  test('names that are words of dnsmasq’s own are names, for dnsmasq too', async () => {
    const words = ['ignore', 'infinite', '12h', '300', '7d', '45m', 'set', 'tag', 'id', 'net', 'known', 'static'];
    const wanted = structuredClone(configuration);
    if (wanted.dhcp)
      wanted.dhcp.hosts = words.map((word, index) => ({
        mac: `02:00:00:00:01:${index + 10}`,
        address: `10.1.1.${index + 10}`,
        hostName: word,
      }));
    const folder = await mkdtemp(`${tmpdir()}/nephos-compile-`);
    try {
      const plan = compileRouter(parse(RouterConfiguration, wanted, 'configuration'), folder);
      for (const [path, content] of Object.entries(plan.dnsmasq?.files ?? {})) await writeFile(path, content);
      await writeFile(`${folder}/dnsmasq.conf`, plan.dnsmasq?.configuration ?? '');
      await runCommand('/usr/sbin/dnsmasq', ['--test', `--conf-file=${folder}/dnsmasq.conf`]);
      const lines = (await readFile(`${folder}/dhcp-hosts`, 'utf8')).split('\n').filter(Boolean);
      assert.deepEqual(
        lines.map((line) => line.split(',')[2]),
        words.map((word) => `${word}.cs1.cloud.internal`),
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    const numeric = structuredClone(configuration);
    if (numeric.dhcp)
      Object.assign(numeric.dhcp, { domain: '1.1.1', hosts: [{ mac: '02:00:00:00:00:09', address: '10.1.1.9', hostName: '10' }] });
    assert.equal(compileRouter(numeric, '/run/r').dnsmasq?.files['/run/r/dhcp-hosts'], '02:00:00:00:00:09,10.1.1.9\n');
  });

  test('encoders give back what they let pass', () => {
    assert.equal(networkOf('10.1.1.77', 26), '10.1.1.64/26');
    assert.equal(cidr('10.1.1.77/0'), '0.0.0.0/0');
    assert.equal(hostName('Web-1.Example'), 'web-1.example');
    for (const value of ['10.1.1.0/33', '10.1.1.0/-1', '10.1.1/24', '10.1.1.0', '10.1.1.0/024', '010.1.1.0/24'])
      assert.throws(() => cidr(value), value);
  });
});

test('nft takes every ruleset that can come of a valid configuration', { skip: isRoot ? false : 'needs root' }, async () => {
  const next = numbers(11);
  for (let round = 0; round < 25; round++) {
    const wanted = structuredClone(configuration);
    if (wanted.firewall)
      wanted.firewall = {
        egressDefault: next(2) === 0 ? 'allow' : 'deny',
        egress: Array.from({ length: next(40) }, () => {
          const kind = next(4);
          return {
            sourceCidr: `10.1.${next(3)}.${next(256)}/${16 + next(17)}`,
            destinationCidr: `198.${18 + next(2)}.${next(3)}.${next(256)}/${next(33)}`,
            match:
              kind === 0
                ? { protocol: 'all' as const }
                : kind === 1
                  ? { protocol: 'icmp' as const, icmpType: next(256) - 1, icmpCode: next(17) - 1 }
                  : { protocol: kind === 2 ? ('tcp' as const) : ('udp' as const), startPort: 1 + next(65_535), endPort: 1 + next(65_535) },
          };
        }),
      };
    const ruleset = compileRouter(parse(RouterConfiguration, wanted, 'configuration'), '/run/r').ruleset({ flowtable: false });
    await runCommand('nft', ['--check', '-f', '-'], { input: ruleset });
  }
});

describe('the metadata server', () => {
  const guest = {
    address: '10.1.1.20',
    metadata: { 'instance-id': 'i-20', 'public-keys/0/openssh-key': 'ssh-ed25519 AAAA', __proto__x: '1' },
    userData: Buffer.from('#!data').toString('base64'),
    password: null,
  };

  test('lists names one a line, each readable below it', () => {
    assert.equal(metadataBody(guest, '/latest/meta-data/'), '__proto__x\ninstance-id\npublic-keys/');
    assert.equal(metadataBody(guest, '/latest/meta-data'), '__proto__x\ninstance-id\npublic-keys/');
    assert.equal(metadataBody(guest, '/latest//meta-data/instance-id/'), 'i-20');
    assert.equal(metadataBody(guest, '/latest/instance-id'), 'i-20');
    assert.equal(metadataBody(guest, '/latest/meta-data/public-keys/'), '0/');
    assert.equal(metadataBody(guest, '/latest/meta-data/public-keys/0/openssh-key'), 'ssh-ed25519 AAAA');
    assert.deepEqual(metadataBody(guest, '/latest/user-data'), Buffer.from('#!data'));
    assert.equal(metadataBody(guest, '/'), 'latest/');
  });

  test('knows nothing else', () => {
    for (const path of [
      '/latest/meta-data/constructor',
      '/latest/meta-data/__proto__',
      '/2009-04-04/meta-data/',
      '/latest/../x',
      '/latest/user-data/x',
    ])
      assert.equal(metadataBody(guest, path), null, path);
    assert.deepEqual(namesBelow(['a/b', 'a/c/d', 'ab'], 'a'), ['b', 'c/']);
  });
});

test('a listing of rules is told apart block by block', () => {
  const listing = 'table inet nephos_router {\n\tset guests {\n\t\ttype ipv4_addr\n\t}\n\n\tchain egress {\n\t\taccept\n\t}\n}\n';
  const digests = blockDigests(listing);
  assert.deepEqual([...digests.keys()], ['set guests', 'chain egress']);
  const changed = blockDigests(listing.replace('accept', 'drop'));
  assert.equal(changed.get('set guests'), digests.get('set guests'));
  assert.notEqual(changed.get('chain egress'), digests.get('chain egress'));
});
