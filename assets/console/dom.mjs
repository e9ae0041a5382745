// Elements as plain objects, and a function that makes the document look like them. Texts only ever become text nodes
// and attributes, so names that strangers chose cannot become markup.

const SVG = "http://www.w3.org/2000/svg";
const isShown = (child) => child !== null && child !== undefined && child !== false && child !== "";

/** An element; `svg:` in front of the tag makes one of SVG. `key` keeps its node when its place changes. */
export const h = (tag, props, ...children) => ({
  tag, props: props ?? {}, key: props?.key, children: children.flat(Infinity).filter(isShown),
});

const create = (tag) => (tag.startsWith("svg:")
  ? document.createElementNS(SVG, tag.slice(4))
  : document.createElement(tag));

const set = (node, name, value, before) => {
  if (name === "key" || name === "once") return;
  if (name.startsWith("on")) {
    const kind = name.slice(2);
    node.handlers ??= {};
    if (!(kind in node.handlers)) node.addEventListener(kind, (event) => node.handlers[kind]?.(event));
    node.handlers[kind] = value;
  } else if ((name === "value" || name === "checked") && node.localName !== "option" && node.localName !== "meter") {
    // What somebody types is theirs until they leave the field; a box has nothing typed in it.
    const isTyped = node === document.activeElement && name === "value";
    if (!isTyped && node[name] !== value) node[name] = value ?? "";
  } else if (value === before) {
    return;
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
};

const update = (node, wanted) => {
  const before = node.props ?? {};
  for (const name of Object.keys(before)) if (!(name in wanted.props)) set(node, name, null, before[name]);
  for (const [name, value] of Object.entries(wanted.props)) set(node, name, value, before[name]);
  node.props = wanted.props;
  if (!wanted.props.once) render(node, wanted.children);
};

/** Makes the children of `parent` look like `wanted`, and keeps every node that can stay. */
export const render = (parent, wanted) => {
  const list = [wanted].flat(Infinity).filter(isShown);
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.itsKey !== undefined) keyed.set(node.itsKey, node);
  let cursor = parent.firstChild;
  for (const one of list) {
    if (typeof one !== "object") {
      if (cursor?.nodeType === Node.TEXT_NODE) {
        if (cursor.data !== String(one)) cursor.data = String(one);
        cursor = cursor.nextSibling;
      } else {
        parent.insertBefore(document.createTextNode(String(one)), cursor);
      }
      continue;
    }
    const usable = one.key === undefined ? cursor : keyed.get(one.key);
    const fits = usable && usable.itsTag === one.tag && usable.itsKey === one.key;
    const node = fits ? usable : create(one.tag);
    if (!fits) Object.assign(node, { itsTag: one.tag, itsKey: one.key });
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
    update(node, one);
    if (!fits) one.props.once?.(node);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
};
