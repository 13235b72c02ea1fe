import { command, reply } from '../../core/command.ts';
import type { Settings } from '../../core/settings.ts';
import { f, view } from '../../core/view.ts';
import { API_VERSION } from '../../core/wire.ts';
import { uiPageSize } from '../settings.ts';

/** Settings of areas above this one are read by name. */
const settingNamed = (settings: Settings, name: string): unknown => {
  const definition = settings.all.find((each) => each.name === name);
  return definition && settings.get(definition);
};
const flag = (settings: Settings, name: string): boolean | null => {
  const value = settingNamed(settings, name);
  return typeof value === 'boolean' ? value : null;
};
const number = (settings: Settings, name: string): number | null => {
  const value = settingNamed(settings, name);
  return typeof value === 'number' ? value : null;
};

const capabilitiesView = view<Settings>('CapabilitiesResponse', 'capability', {
  cloudstackversion: f.string('the version of the API', () => API_VERSION),
  securitygroupsenabled: f.boolean('whether security groups can be used', () => false),
  dynamicrolesenabled: f.boolean('whether roles have rules of their own', () => false),
  supportELB: f.string('whether there is elastic load balancing', () => 'false'),
  kvmsnapshotenabled: f.boolean('whether snapshots of running machines can be made', () => false),
  userpublictemplateenabled: f.boolean('whether users may make templates public', (all) => flag(all, 'allow.public.user.templates')),
  allowuserexpungerecovervm: f.boolean('whether users may expunge and recover', (all) => flag(all, 'allow.user.expunge.recover.vm')),
  allowusercreateprojects: f.boolean('whether users may create projects', () => false),
  projectinviterequired: f.boolean('whether members of projects are invited', () => false),
  regionsecondaryenabled: f.boolean('whether a region shares secondary storage', () => false),
  kubernetesserviceenabled: f.boolean('whether there is a Kubernetes service', () => false),
  kubernetesclusterexperimentalfeaturesenabled: f.boolean('whether its experiments are on', () => false),
  customdiskofferingminsize: f.long('the least GiB that a user may choose', (all) => number(all, 'custom.diskoffering.size.min')),
  customdiskofferingmaxsize: f.long('the most GiB that a user may choose', (all) => number(all, 'custom.diskoffering.size.max')),
  defaultuipagesize: f.long('rows on a page of the web interface', (all) => all.get(uiPageSize)),
});

export const listCapabilities = command({
  name: 'listCapabilities',
  about: 'Tells what this cloud can do.',
  access: 'user',
  params: {},
  reply: reply.one(capabilitiesView),
  run: async ({ settings }) => settings,
});
