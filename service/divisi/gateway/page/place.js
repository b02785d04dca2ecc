/* Where the service is: at the root of its host, or below a path of a proxy's that only the browser knows. */

export const ROOT = new URL("..", import.meta.url);

/** The address of what the page or the service names, such as `/v1/models`; what stands in front of `/v1/` is ours to say. */
export const addressOf = (path) => new URL(path.slice(path.lastIndexOf("/v1/") + 1), ROOT).href;

/** What this browser keeps for this service is called so; another one on the same host keeps its own. */
export const keptAs = (name) => `divisi.${name}${ROOT.pathname.replace(/\/$/, "")}`;
