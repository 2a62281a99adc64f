// What scripts find in a page beside the browser's own names. Elements that a query finds are not typed: the checker does
// not know the page.

type Records = Record<string, any>;

declare var kept: {
  KINDS: Record<string, (value: any) => boolean>;
  read(kind: string): Records;
  change(kind: string, entries: Records): void;
  watch(show: (kind: string | null) => unknown): void;
  follow(show: (kind: string | null) => unknown): void;
};

// Of the theme.
declare var document$: { subscribe(show: () => void): void };
declare var location$: { next(url: URL): void };

interface ParentNode {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}

interface Document {
  getElementById(id: string): any;
}

interface WindowEventMap {
  "llmguide:answered": CustomEvent;
}

interface Navigator {
  connection?: { saveData: boolean }; // Chromium's
}
