import { type AnyCommand, command, reply } from '../../core/command.ts';
import { f, view } from '../../core/view.ts';

const eventTypeView = view<{ name: string }>('EventTypeResponse', 'eventtype', { name: f.string('the type', (row) => row.name) });

export const listEventTypes = (commands: () => readonly AnyCommand[]) =>
  command({
    name: 'listEventTypes',
    about: 'Lists the types of events that commands write.',
    access: 'user',
    params: {},
    reply: reply.list(eventTypeView),
    run: async () => {
      const names = new Set(commands().flatMap(({ event }) => (event ? [event.type] : [])));
      return { count: names.size, rows: [...names].sort().map((name) => ({ name })) };
    },
  });
