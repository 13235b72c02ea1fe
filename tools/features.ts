/**
 * `npm run features`: writes docs/features.md, every row with the tests that prove it and their last result, from the reports of the last
 * test runs alone. A test proves a row when the row's ID is in its title or its suite's; what no test proves yet stands in the row as `open`.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { type Report, readReports, repository } from '../tests/report.ts';

const Rows = z.array(
  z.strictObject({
    id: z.string().regex(/^[A-Z]{2}-\d{2}$/),
    area: z.string(),
    about: z.string(),
    /** The part of the row that its tests do not prove yet, in a few words; left out where they prove all of it. */
    open: z.string().min(10).max(300).optional(),
  }),
);
export type Row = z.infer<typeof Rows>[number];

export const readRows = async (): Promise<Row[]> =>
  Rows.parse(JSON.parse(await readFile(join(repository, 'tests', 'features', 'rows.json'), 'utf8')));

interface Proof {
  readonly title: string;
  readonly file: string;
  readonly passed: boolean;
}

/** `SV-05`, and also the ends of a span such as `CP-06 to CP-10` or a list `SV-09, SV-16`. */
export const rowsIn = (title: string): string[] => {
  const named = title.match(/\b[A-Z]{2}-\d{2}\b/g) ?? [];
  const spans = [...title.matchAll(/\b([A-Z]{2})-(\d{2}) to (?:\1-)?(\d{2})\b/g)].flatMap(([, area = '', from, to]) =>
    Array.from(
      { length: Math.max(0, Number(to) - Number(from) + 1) },
      (_, index) => `${area}-${String(Number(from) + index).padStart(2, '0')}`,
    ),
  );
  return [...new Set([...named, ...spans])];
};

export const proofsByRow = (reports: readonly Report[]): Map<string, Proof[]> => {
  const proofs = new Map<string, Proof[]>();
  for (const { file, tests } of reports) {
    for (const { title, state } of tests) {
      for (const id of rowsIn(title)) proofs.set(id, [...(proofs.get(id) ?? []), { title, file, passed: state === 'passed' }]);
    }
  }
  return proofs;
};

const cell = (text: string): string => text.replace(/[\\|]/g, '\\$&').replace(/</g, '&lt;').replace(/\s+/g, ' ');

const results = ['passed', 'passed in part', 'failed', 'not yet'] as const;
/** Where something is open, tests that pass prove a part. */
export const resultOf = ({ open }: Pick<Row, 'open'>, proofs: readonly Pick<Proof, 'passed'>[]): (typeof results)[number] =>
  proofs.length === 0 ? 'not yet' : !proofs.every(({ passed }) => passed) ? 'failed' : open === undefined ? 'passed' : 'passed in part';

export const featuresPage = (rows: readonly Row[], reports: readonly Report[]): string => {
  const proofs = proofsByRow(reports);
  const unknown = [...proofs.keys()].filter((id) => !rows.some((row) => row.id === id)).sort();
  const of = (id: string): Proof[] => proofs.get(id) ?? [];
  const count = (wanted: (typeof results)[number]): number => rows.filter((row) => resultOf(row, of(row.id)) === wanted).length;
  const latest = reports
    .map(({ startedAt }) => startedAt)
    .sort()
    .at(-1);
  const lines = [
    '# Features',
    '',
    'Written by `npm run features` from the reports of the last test runs; do not edit. A test proves a row when its title carries the ID;',
    'where its tests prove a part of it only, the last column says what is open.',
    '',
    `${rows.length} rows: ${results.map((each) => `${count(each)} ${each}`).join(', ')}. Last test run: ${latest ? `${latest.slice(0, 10)} ${latest.slice(11, 16)} UTC` : 'none'}.`,
  ];
  for (const area of new Set(rows.map((row) => row.area))) {
    lines.push('', `## ${area}`, '', '| ID | Feature | Tests | Last result | Still open |', '|---|---|---|---|---|');
    for (const row of rows.filter((each) => each.area === area)) {
      const { id, about, open } = row;
      const tests = of(id).map(({ title, file, passed }) => `${passed ? '' : '✗ '}${cell(title)} (${file})`);
      lines.push(`| ${id} | ${cell(about)} | ${tests.join('<br>')} | ${resultOf(row, of(id))} | ${open === undefined ? '' : cell(open)} |`);
    }
  }
  if (unknown.length > 0) lines.push('', `Titles that name rows which do not exist: ${unknown.join(', ')}.`);
  return `${lines.join('\n')}\n`;
};

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [rows, reports] = [await readRows(), await readReports()];
  await mkdir(join(repository, 'docs'), { recursive: true });
  await writeFile(join(repository, 'docs', 'features.md'), featuresPage(rows, reports));
  const proved = proofsByRow(reports);
  console.log(`wrote docs/features.md: ${rows.filter(({ id }) => proved.has(id)).length} of ${rows.length} rows have tests`);
}
