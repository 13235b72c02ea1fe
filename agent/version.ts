import settings from '../package.json' with { type: 'json' };

/** The release this agent was built from. */
export const version: string = settings.version;
