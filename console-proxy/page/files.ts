/**
 * The files of the console page. In a bundle this whole file is replaced by one that holds their text (see `../bundle.ts`); a proxy
 * that runs from the sources builds them when the first browser comes.
 */

/** File name to text. */
export type PageFiles = Readonly<Record<string, string>>;

export async function pageFiles(): Promise<PageFiles> {
  const { buildPage } = await import('./build.ts');
  return buildPage();
}
