/** Drives the console page in Debian's Chromium, for end-to-end tests. */
import { type Browser, chromium, type Page } from 'playwright-core';

/** Chromium without what a test machine has not: a sandbox for root, a graphics card, a way to its maker. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS, timeout: 60_000 });
}

export interface ConsolePage {
  readonly page: Page;
  /** Sentences that the page or the browser complained with; a good run has none. */
  readonly complaints: readonly string[];
  /** Ends when the screen is there. */
  readonly waitForScreen: (timeoutSeconds?: number) => Promise<void>;
  /** Ends with what the page says instead of a screen. */
  readonly waitForEnd: (timeoutSeconds?: number) => Promise<{ readonly heading: string; readonly text: string }>;
  /** Keeps the screen as it is now, for `waitForChange`. */
  readonly remember: () => Promise<void>;
  /** Ends when at least `pixels` differ from what was remembered: more than a blinking cursor. */
  readonly waitForChange: (pixels?: number, timeoutSeconds?: number) => Promise<number>;
  readonly press: (keys: readonly string[]) => Promise<void>;
  readonly typeText: (text: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function openConsolePage(browser: Browser, url: string): Promise<ConsolePage> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1100, height: 760 } });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // noVNC says this on plain http, where it works all the same.
    if (message.type() === 'error' && !message.text().startsWith('noVNC requires a secure context')) complaints.push(message.text());
  });
  await page.goto(url, { waitUntil: 'load', timeout: 30_000 });

  /** How many pixels differ from those remembered. All of it runs in the page. */
  const compare = async (keep: boolean): Promise<number> =>
    page.evaluate((keeps) => {
      const canvas = document.querySelector('#screen canvas');
      const context2d = canvas instanceof HTMLCanvasElement ? canvas.getContext('2d') : null;
      if (!(canvas instanceof HTMLCanvasElement) || context2d === null || canvas.width === 0) return 0;
      const words = new Uint32Array(context2d.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      const kept: unknown = Reflect.get(window, 'nephosKept');
      if (keeps) Reflect.set(window, 'nephosKept', words);
      if (!(kept instanceof Uint32Array)) return 0;
      // A screen of another size is another screen.
      if (kept.length !== words.length) return words.length;
      return words.reduce((count, word, index) => (word === kept[index] ? count : count + 1), 0);
    }, keep);

  return {
    page,
    complaints,
    waitForScreen: async (timeoutSeconds = 20) => {
      await page.locator('html[data-state="open"]').waitFor({ state: 'attached', timeout: timeoutSeconds * 1000 });
      await page.locator('#screen canvas').waitFor({ timeout: timeoutSeconds * 1000 });
    },
    waitForEnd: async (timeoutSeconds = 20) => {
      await page.locator('html[data-state="ended"]').waitFor({ state: 'attached', timeout: timeoutSeconds * 1000 });
      return {
        heading: (await page.locator('#end-title').textContent()) ?? '',
        text: (await page.locator('#end-text').textContent()) ?? '',
      };
    },
    remember: async () => void (await compare(true)),
    waitForChange: async (pixels = 150, timeoutSeconds = 20) => {
      const deadline = Date.now() + timeoutSeconds * 1000;
      for (;;) {
        const changed = await compare(false);
        if (changed >= pixels) return changed;
        if (Date.now() > deadline) throw new TypeError(`the screen did not change within ${timeoutSeconds} s`);
        await page.waitForTimeout(100);
      }
    },
    press: async (keys) => {
      await page.locator('#screen canvas').focus();
      for (const key of keys) {
        await page.keyboard.press(key, { delay: 40 });
        await page.waitForTimeout(60);
      }
    },
    typeText: async (text) => {
      await page.locator('#paste').click();
      await page.locator('#paste-text').fill(text);
      await page.locator('#paste-type').click();
      await page.locator('#paste-progress', { hasText: /Typed|Stopped/ }).waitFor({ timeout: 60_000 });
      await page.locator('#paste-close').click();
    },
    close: async () => context.close(),
  };
}
