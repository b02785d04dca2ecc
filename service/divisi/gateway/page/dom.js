/* Elements in one line: `h("button", {onclick, "aria-label": …}, "Play")`. Text is never read as HTML. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Values of the boxes that are checked. */
export const checkedIn = (element) => [...element.querySelectorAll("input:checked")].map(({ value }) => value);

export function clockTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** An element that `index.html` has. */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Read out by screen readers without moving the focus. */
export function announce(text) {
  byId("announcer").textContent = text;
}

const NAMED = ["soprano", "alto", "tenor", "bass"];

/** Number of a voice's colour in the style sheet; the same voice has the same colour everywhere. */
export function colourOf(name, place) {
  if (name === "residual") return "rest";
  const named = NAMED.indexOf(name.split(/[-_ 0-9]/)[0]);
  return String((named >= 0 ? named : place) % 8);
}

export function cssColour(element, variable = "--voice") {
  return getComputedStyle(element).getPropertyValue(variable).trim();
}
