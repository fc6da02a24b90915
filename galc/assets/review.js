// The review grid: one card a label, decided with one key. What a card says is decided was saved by the kernel before.
const KEYS = { k: "keep", r: "remove", a: "add" };
const PAGES = { n: 1, PageDown: 1, p: -1, PageUp: -1 };
const WORDS = { keep: "kept as it is", remove: "removed", add: "added", "": "undecided" };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // text stays text: nothing here is ever read as markup
  return made;
}

// Whatever can have the focus says so itself, else JupyterLab takes its keys: "a" inserts a cell, "d" twice deletes one.
function focusable(made) {
  made.setAttribute("data-lm-suppress-shortcuts", "true");
  return made;
}

function button(action) {
  const name = action[0].toUpperCase() + action.slice(1);
  const made = element("button", { type: "button", title: `${name} (${action[0].toUpperCase()})` }, name);
  made.dataset.action = action;
  return focusable(made);
}

function drawn(card) {
  const picture = card.src
    ? element("img", { src: card.src, alt: "" })
    : element("p", { className: "galc-broken" }, "This image cannot be read.");
  const name = element("p", { className: "galc-name" }, element("bdi", {}, card.name));
  const labels = card.labels.flatMap((label, n) => [n ? ", " : "", element("bdi", {}, label)]);
  const given = element("p", { className: "galc-given" }, "labels given: ", ...(labels.length ? labels : ["none"]));
  const done = element("p", { className: "galc-done" });
  const choice = element("p", { className: "galc-choice" }, ...card.actions.map(button));
  const made = element("div", { className: `galc-card galc-${card.kind}`, title: card.file });
  made.append(picture, name, element("p", {}, card.claim), given, choice, done);
  made.setAttribute("role", "group");
  return focusable(made);
}

function render({ model, el }) {
  const list = element("ul", { className: "galc-cards" });
  list.setAttribute("role", "list"); // Safari forgets that a list without bullets is one
  el.append(list);
  const cards = () => [...list.querySelectorAll(".galc-card")];
  let current = 0;

  // One card, with its buttons, is in the order of Tab; arrow keys go to the others.
  function choose(place, focus) {
    const all = cards();
    current = Math.max(0, Math.min(place, all.length - 1));
    all.forEach((card, n) => {
      card.tabIndex = n === current ? 0 : -1;
      card.querySelectorAll("button").forEach((made) => (made.tabIndex = n === current ? 0 : -1));
    });
    if (focus) all[current]?.focus();
  }

  function mark() {
    const [content, chosen] = [model.get("cards"), model.get("chosen")];
    cards().forEach((card, n) => {
      const action = chosen[n] ?? "";
      card.dataset.chosen = action;
      card.querySelector(".galc-done").textContent = WORDS[action];
      card.querySelectorAll("button").forEach((made) => made.setAttribute("aria-pressed", made.dataset.action === action));
      const { name, claim, labels, file } = content[n];
      const given = labels.length ? labels.join(", ") : "none";
      const place = `${n + 1} of ${content.length}`;
      card.setAttribute("aria-label", `${place}: ${name}, ${claim}, ${WORDS[action]}. Labels given: ${given}. ${file}`);
    });
  }

  function rebuild() {
    const focused = list.contains(document.activeElement);
    list.replaceChildren(...model.get("cards").map((card) => element("li", {}, drawn(card))));
    mark();
    choose(0, focused);
  }

  function columns() {
    const all = cards();
    return all.filter((card) => card.getBoundingClientRect().top === all[0].getBoundingClientRect().top).length;
  }

  function decide(place, action) {
    const card = model.get("cards")[place];
    if (!card?.actions.includes(action)) return;
    model.send({ do: "decide", row: card.rank - 1, action });
    choose(place + 1, true);
  }

  const MOVES = {
    ArrowRight: () => choose(current + 1, true),
    ArrowLeft: () => choose(current - 1, true),
    ArrowDown: () => current + columns() < cards().length && choose(current + columns(), true),
    ArrowUp: () => current >= columns() && choose(current - columns(), true),
    Home: () => choose(0, true),
    End: () => choose(Infinity, true),
    u: () => model.send({ do: "undo" }),
  };

  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in MOVES) MOVES[key]();
    else if (key in KEYS) decide(current, KEYS[key]);
    else if (key in PAGES) model.send({ do: "page", by: PAGES[key] });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  list.addEventListener("click", (event) => {
    const place = cards().indexOf(event.target.closest(".galc-card"));
    if (place < 0) return;
    const action = event.target.closest("button")?.dataset.action;
    choose(place, true);
    if (action) decide(place, action);
  });
  list.addEventListener("focusin", (event) => {
    const place = cards().indexOf(event.target.closest(".galc-card"));
    if (place >= 0 && place !== current) choose(place, false);
  });

  const toPlace = (message) => "focus" in message && choose(message.focus, true);
  model.on("change:cards", rebuild);
  model.on("change:chosen", mark);
  model.on("msg:custom", toPlace);
  rebuild();
  return () => {
    model.off("change:cards", rebuild);
    model.off("change:chosen", mark);
    model.off("msg:custom", toPlace);
  };
}

export default { render };
