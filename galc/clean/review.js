// The review grid: one card a label, decided with one key. What a card says is decided was saved by the kernel before.
const KEYS = { k: "keep", r: "remove", a: "add" };
const PAGES = { n: 1, PageDown: 1, p: -1, PageUp: -1 };
const WORDS = { keep: "kept as it is", remove: "removed", add: "added", "": "undecided" };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // text stays text: nothing here is ever read as markup
  return made;
}

// Isolated, so that a name written from right to left does not turn the sentence round.
const isolated = (name) => `\u2068${name}\u2069`;
const listed = (names) => names.flatMap((name, n) => [n ? ", " : "", element("bdi", {}, name)]);

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
  const labels = card.labels.length ? listed(card.labels) : ["none"];
  const given = element("p", { className: "galc-given" }, "labels given: ", ...labels);
  const done = element("p", { className: "galc-done" });
  const choice = element("p", { className: "galc-choice" }, ...card.actions.map(button));
  const title = "Other class (O)";
  const other = focusable(element("button", { type: "button", title, className: "galc-other" }, "Other…"));
  other.setAttribute("aria-expanded", "false");
  const others = element("p", { className: "galc-others" }, element("span"), other);
  const made = element("div", { className: `galc-card galc-${card.kind}`, title: card.file });
  made.append(picture, name, element("p", {}, card.claim), given, choice, done, others);
  made.setAttribute("role", "group");
  return focusable(made);
}

// What was decided about the other classes of a card's image, [class, what was done].
function others(card, decided) {
  const action = (name, present) => (card.labels.includes(name) === present ? "keep" : present ? "add" : "remove");
  return decided.filter(([name]) => name !== card.name).map(([name, present]) => [name, WORDS[action(name, present)]]);
}

// The classes that the image has now: those given, as people changed them.
function present(card, decided) {
  const now = new Set(card.labels);
  decided.forEach(([name, there]) => (there ? now.add(name) : now.delete(name)));
  return now;
}

// The classes that a typed text can mean: the one spelled so, else those that differ in line breaks, space or case.
function meant(text, classes) {
  const plain = (name) => name.replace(/[\r\n]/g, "").trim();
  for (const read of [(name) => name, plain, (name) => plain(name).toLowerCase()]) {
    const found = classes.filter((name) => read(name) === read(text));
    if (found.length) return found;
  }
  return [];
}

// The field for any class of an image. There is one; it stands in the card that it is open for.
function classField(classes, decide, close) {
  const id = `galc-classes-${Math.random().toString(36).slice(2)}`;
  const list = element("datalist", { id });
  const said = element("p", { className: "galc-said", id: `${id}-said` }); // spoken when it changes
  const help = element("p", { className: "galc-now", id: `${id}-now` });
  const input = focusable(element("input", { type: "text", autocomplete: "off", spellcheck: false }));
  const label = element("label", {}, "add or remove a class", input);
  const made = element("div", { className: "galc-field" }, label, list, said, help);
  let now = new Set();
  input.setAttribute("list", id);
  input.setAttribute("aria-describedby", `${said.id} ${help.id}`);
  said.setAttribute("role", "status");

  function say(text, wrong = false) {
    input.setAttribute("aria-invalid", wrong);
    said.textContent = text;
  }

  function clear() {
    input.value = "";
    say("");
  }

  function option(name) {
    const made = element("option", { value: name });
    if (now.has(name)) made.label = `${name}, on the image now`; // Firefox shows it in place of the name
    return made;
  }

  function show(there) {
    now = there;
    const [on, off] = [true, false].map((wanted) => classes.filter((name) => now.has(name) === wanted));
    list.replaceChildren(...[...on, ...off].map(option));
    const names = on.length ? listed(on) : ["none"];
    const keys = ". Enter removes one of these, or adds another; Escape closes.";
    help.replaceChildren("on the image now: ", ...names, keys);
    if (input.getAttribute("aria-invalid") !== "true") typed();
  }

  function typed() {
    const found = input.value ? meant(input.value, classes) : [];
    say(found.length === 1 ? `Enter ${now.has(found[0]) ? "removes" : "adds"} ${isolated(found[0])}.` : "");
  }

  function enter() {
    const found = meant(input.value, classes);
    if (found.length === 1) {
      clear();
      decide(found[0], !now.has(found[0]));
    } else {
      const names = found.map(isolated).join(" or ");
      say(`${names ? `It may be ${names}` : `No class is named ${isolated(input.value)}`}; nothing is saved.`, true);
    }
  }

  made.addEventListener("keydown", (event) => {
    event.stopPropagation(); // what is typed is no key of the grid
    if (event.isComposing) return;
    if (event.key === "Enter") enter();
    if (event.key === "Escape") close();
  });
  made.addEventListener("click", (event) => event.stopPropagation());
  input.addEventListener("input", typed);
  return { made, input, show, clear };
}

function render({ model, el }) {
  const list = element("ul", { className: "galc-cards" });
  list.setAttribute("role", "list"); // Safari forgets that a list without bullets is one
  el.append(list);
  const cards = () => [...list.querySelectorAll(".galc-card")];
  let current = 0;
  const field = classField(model.get("classes"), decideClass, () => close(true));

  // One card, with its buttons, is in the order of Tab; arrow keys go to the others.
  function choose(place, focus) {
    const all = cards();
    if (place !== current) close(false);
    current = Math.max(0, Math.min(place, all.length - 1));
    all.forEach((card, n) => {
      card.tabIndex = n === current ? 0 : -1;
      card.querySelectorAll("button").forEach((made) => (made.tabIndex = n === current ? 0 : -1));
    });
    if (focus) all[current]?.focus();
  }

  function open() {
    if (!cards()[current]) return;
    if (!field.made.isConnected) {
      field.clear();
      cards()[current].append(field.made);
      cards()[current].querySelector(".galc-other").setAttribute("aria-expanded", "true");
      field.show(presentNow());
    }
    field.input.focus();
  }

  function close(focus) {
    const card = field.made.closest(".galc-card");
    field.made.remove();
    card?.querySelector(".galc-other").setAttribute("aria-expanded", "false");
    if (focus) card?.focus();
  }

  const presentNow = () => present(model.get("cards")[current], model.get("decided")[current] ?? []);

  function decideClass(name, present) {
    model.send({ do: "class", row: model.get("cards")[current].rank - 1, name, present });
  }

  function mark() {
    const [content, chosen, decided] = [model.get("cards"), model.get("chosen"), model.get("decided")];
    cards().forEach((card, n) => {
      const action = chosen[n] ?? "";
      card.dataset.chosen = action;
      card.querySelector(".galc-done").textContent = WORDS[action];
      const choices = card.querySelectorAll(".galc-choice button");
      choices.forEach((made) => made.setAttribute("aria-pressed", made.dataset.action === action));
      const { name, claim, labels, file } = content[n];
      const changed = others(content[n], decided[n] ?? []);
      const parts = changed.flatMap(([other, word], m) => [m ? ", " : "", element("bdi", {}, other), ` ${word}`]);
      const line = card.querySelector(".galc-others span");
      line.replaceChildren("other labels: ", ...(parts.length ? parts : ["none decided"]));
      const given = labels.length ? labels.join(", ") : "none";
      const place = `${n + 1} of ${content.length}`;
      const rest = changed.length ? ` Other labels: ${changed.map((pair) => pair.join(" ")).join(", ")}.` : "";
      const state = `${name}, ${claim}, ${WORDS[action]}`;
      card.setAttribute("aria-label", `${place}: ${state}. Labels given: ${given}.${rest} ${file}`);
    });
    if (field.made.isConnected) field.show(presentNow());
  }

  function rebuild() {
    const focused = list.contains(document.activeElement);
    close(false);
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
    o: open,
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
    const pressed = event.target.closest("button");
    choose(place, true);
    if (pressed?.dataset.action) decide(place, pressed.dataset.action);
    else if (pressed) open();
  });
  list.addEventListener("focusin", (event) => {
    const place = cards().indexOf(event.target.closest(".galc-card"));
    if (place >= 0 && place !== current) choose(place, false);
  });

  const toPlace = (message) => "focus" in message && choose(message.focus, true);
  model.on("change:cards", rebuild);
  model.on("change:chosen", mark);
  model.on("change:decided", mark);
  model.on("msg:custom", toPlace);
  rebuild();
  return () => {
    model.off("change:cards", rebuild);
    model.off("change:chosen", mark);
    model.off("change:decided", mark);
    model.off("msg:custom", toPlace);
  };
}

export default { render };
