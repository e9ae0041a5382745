// Asking the system API. Addresses are relative, so that the console works behind any prefix.

const ROOT = new URL("../", document.baseURI);
const PATIENCE_MS = 8000;

/** An answer that was no success. */
export class Refused extends Error {
  /** `isForcible`: the same with `force=true` is done. */
  constructor(status, words, isForcible = false) {
    super(words);
    Object.assign(this, { status, isForcible });
  }
}

const ask = async (path, options = {}) => {
  const response = await fetch(new URL(path, ROOT), {
    credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS), ...options,
    headers: { "X-Sluicegate": "1", ...options.headers },
  });
  // An answer that broke off is no answer.
  const document = await response.json().catch((error) => {
    if (response.ok) throw error;
    return {};
  });
  if (!response.ok) throw new Refused(response.status, document.error ?? `the proxy answered ${response.status}`, document.force === true);
  return document.data ?? document;
};

/** A document of the API. */
export const get = (path) => ask(`api/v1/${path}`);
/** A change. */
export const send = (method, path) => ask(`api/v1/${path}`, { method });
export const me = () => ask("console/me");
export const login = (token) => ask("console/login", {
  method: "POST", body: JSON.stringify({ token }), headers: { "Content-Type": "application/json" },
});
export const logout = () => ask("console/logout", { method: "POST" });
/** Where the API has something. */
export const address = (path) => new URL(`api/v1/${path}`, ROOT).href;

const PROGRAM = { "X-Sluicegate": "1" };
/** Begins to look at a stream; the answer is what a player takes. */
export const look = async (method, stream, { headers, ...options }) => {
  const path = `preview?${query({ stream })}`;
  const response = await fetch(address(path), { method, credentials: "same-origin", headers: { ...PROGRAM, ...headers }, ...options });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error ?? `the proxy answered ${response.status}`);
};
/** Ends a look that has a session at `url`; also when the page is left. */
export const lookOver = (url) => fetch(url, { method: "DELETE", credentials: "same-origin", headers: PROGRAM, keepalive: true }).catch(() => {});

const FEED_AGAIN_MS = 30_000;
/** Follows what happens at the proxy that is asked. Returns a function that stops it. */
export const follow = (onEvent, onTotals) => {
  let source;
  let again;
  const begin = () => {
    source = new EventSource(new URL("api/v1/feed", ROOT));
    source.addEventListener("event", ({ data }) => onEvent(JSON.parse(data)));
    source.addEventListener("totals", ({ data }) => onTotals(JSON.parse(data)));
    // A feed that breaks off is asked for again by the browser, one that is refused is not: there may be too many.
    source.addEventListener("error", () => {
      onTotals(null);
      if (source.readyState === EventSource.CLOSED) again = setTimeout(begin, FEED_AGAIN_MS);
    });
  };
  begin();
  return () => {
    clearTimeout(again);
    source.close();
  };
};

let book = null;
/** What to do about each alert, as Markdown; asked for once. */
export const runbook = () => (book ??= fetch(new URL("console/runbook.md", ROOT)).then((answer) => {
  if (!answer.ok) throw new Refused(answer.status, `the proxy answered ${answer.status}`);
  return answer.text();
}).catch((error) => { book = null; throw error; }));

/** `?a=b` of what is not empty. */
export const query = (params) => {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given).toString();
};
export const name = (text) => text.split("/").map(encodeURIComponent).join("/");
