// Plotly's figure as a widget that JupyterLab can live with. Plotly's own module comes as text in `_plotly`.
export default () => {
  let plotly;
  return {
    // Not awaited: the widget manager drops the messages of a module that takes over 2 s to start, and Plotly is 5 MB.
    initialize({ model }) {
      const url = URL.createObjectURL(new Blob([model.get("_plotly")], { type: "text/javascript" }));
      plotly = import(url).then((module) => {
        const widget = module.default();
        widget.initialize({ model });
        return widget;
      });
    },
    async render({ model, el }) {
      const clean = (await plotly).render({ model, el });
      const attached = new ResizeObserver(() => {
        // Plotly drew before its place was on the page, 700 pixels wide; this makes it measure again.
        window.dispatchEvent(new Event("resize"));
        // Else JupyterLab takes arrows and letters away from a list that has the focus: "b" inserts a cell.
        const lists = el.closest(".galc-explorer")?.querySelectorAll("select") ?? [];
        lists.forEach((list) => list.setAttribute("data-lm-suppress-shortcuts", "true"));
      });
      attached.observe(el);
      return () => {
        attached.disconnect();
        clean();
      };
    },
  };
};
