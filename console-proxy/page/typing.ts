/** Which keys make a text on a US keyboard. */

export interface KeyPress {
  readonly keysym: number;
  /** The key's place, as browsers name it; null where a US keyboard has no such key. */
  readonly code: string | null;
  readonly shift: boolean;
}

export const SHIFT: KeyPress = { keysym: 0xffe1, code: 'ShiftLeft', shift: false };

const keys = new Map<string, Omit<KeyPress, 'keysym'>>();
const row = (codes: readonly string[], plain: string, shifted: string): void => {
  codes.forEach((code, index) => {
    keys.set(plain.charAt(index), { code, shift: false });
    keys.set(shifted.charAt(index), { code, shift: true });
  });
};
const letters = 'abcdefghijklmnopqrstuvwxyz';
row(
  [...letters.toUpperCase()].map((letter) => `Key${letter}`),
  letters,
  letters.toUpperCase(),
);
row(
  [...'1234567890'].map((digit) => `Digit${digit}`),
  '1234567890',
  '!@#$%^&*()',
);
row(
  ['Minus', 'Equal', 'BracketLeft', 'BracketRight', 'Backslash', 'Semicolon', 'Quote', 'Backquote', 'Comma', 'Period', 'Slash'],
  "-=[]\\;'`,./",
  '_+{}|:"~<>?',
);
keys.set(' ', { code: 'Space', shift: false });

/** X11's number of a character: the same as Unicode in Latin-1, above that with a mark. */
const keysymOf = (character: string): number => {
  const point = character.codePointAt(0) ?? 0;
  return (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff) ? point : 0x01000000 + point;
};

/** Characters that no keyboard types (control characters) are left out. */
export function keyPresses(text: string): KeyPress[] {
  return [...text.replaceAll('\r\n', '\n')].flatMap((character): KeyPress[] => {
    if (character === '\n' || character === '\r') return [{ keysym: 0xff0d, code: 'Enter', shift: false }];
    if (character === '\t') return [{ keysym: 0xff09, code: 'Tab', shift: false }];
    if (character < ' ' || character === '\x7f') return [];
    const key = keys.get(character);
    return [{ keysym: keysymOf(character), code: key?.code ?? null, shift: key?.shift ?? false }];
  });
}
