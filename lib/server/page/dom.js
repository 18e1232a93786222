// Elements. Whatever text they get is only ever text.

export const byId = (id) => document.getElementById(id);

/** An element with properties, or attributes where a name has a dash, and children: texts are texts. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A name that somebody made up: kept apart from the text around it, whatever is in it. */
export const nameOf = (name) => make('bdi', { className: 'name' }, name === '' ? '(empty)' : name);
