// The service's API, as the studio uses it.

const KEY = "darkroom-token";

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname); // it does not stay in the address
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

// What went wrong, in the service's own words; `status` 0 where it did not answer.
export class Trouble extends Error {
  constructor(status, detail, wait = 0) {
    super(detail);
    this.status = status;
    this.wait = wait;
  }
}

export async function ask(path, { method = "GET", body, signal, keepalive } = {}) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, keepalive });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(0, "The service does not answer. Is it still running?");
  }
  if (answer.ok || path === "readyz") return answer;
  let detail = answer.statusText;
  try {
    detail = (await answer.json()).detail;
  } catch { /* no problem details: the status has to do */ }
  throw new Trouble(answer.status, detail, Number(answer.headers.get("Retry-After")) || 0);
}

export const json = async (path, options) => (await ask(path, options)).json();

// Server-sent events by fetch, which can send a token where EventSource cannot.
export async function* events(path, signal) {
  const reader = (await ask(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
      yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

// Draw images: `forming(place, step, steps, src)` shows them on the way. Resolves to the service's answer, null if cancelled.
export async function draw(request, { forming, waiting, signal }) {
  let job;
  for (;;) {
    try {
      job = await json("v1/jobs", { method: "POST", body: request, signal });
      break;
    } catch (error) {
      if (error.status !== 429) throw error;
      waiting(error.wait);
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(1, error.wait)));
      if (signal.aborted) return null;
    }
  }
  const cancel = () => ask(`v1/jobs/${job.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  signal.addEventListener("abort", cancel);
  addEventListener("pagehide", cancel);
  try {
    for await (const [kind, told] of events(`v1/jobs/${job.id}/events`)) {
      if (kind === "forming") forming(told.place, told.step, told.steps, told.image);
      else if (told.state === "cancelled") return null;
      else if (told.state === "failed") throw new Trouble(503, told.detail);
    }
    return await json(`v1/jobs/${job.id}/images`);
  } finally {
    signal.removeEventListener("abort", cancel);
    removeEventListener("pagehide", cancel);
  }
}
