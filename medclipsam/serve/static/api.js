// Asks the server; every address is one of this machine's server.

/** A request that the server refused, with what is wrong and the way out. */
export class Refused extends Error {
  constructor(status, problem, remedy) {
    super(remedy ? `${problem}; ${remedy}` : problem);
    Object.assign(this, { status, remedy });
  }
}

const MOST_TRIES = 4;

/** The answer to a request; a full queue is asked again after the time that it names. */
export async function ask(path, options = {}, tries = 1) {
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.ok) return answer;
  if (answer.status === 503 && tries < MOST_TRIES) {
    await new Promise((wake) => setTimeout(wake, 1000 * Number(answer.headers.get("Retry-After") || 1)));
    return ask(path, options, tries + 1);
  }
  const told = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, told.problem || `the server answered ${answer.status}`, told.remedy);
}

export const json = async (path, options) => (await ask(path, options)).json();

export const post = (path, body, options = {}) =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...options });

/** A PNG or JPEG as the browser draws it. */
export const picture = async (path, options) => createImageBitmap(await (await ask(path, options)).blob());

/** Parameters that say how a scan is read. */
export const reading = (how) => {
  const known = Object.entries(how).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return known.length ? `?${new URLSearchParams(known)}` : "";
};

/** Send files as one scan, and choose of several series; their folders go along, for a series may lie in several. */
export function sendScan(files, how = {}) {
  const form = new FormData();
  for (const { file, path } of files) form.append("files", file, path);
  return json(`/v1/scans${reading(how)}`, { method: "POST", body: form });
}

/** Save what an address holds under a name. */
export function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
