"use strict";
// Tables can be sorted by a click on a column's name. Without this script they stand in the family file's order.
const worth = (row, column) => {
  const cell = row.cells[column];
  const told = cell.dataset.v ?? cell.textContent.trim();
  const number = Number(told);
  return told === "" ? null : Number.isNaN(number) ? told : number;
};
const compare = (a, b) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
};
for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    if (!head.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [one, other] = [worth(a, head.cellIndex), worth(b, head.cellIndex)];
        const order = compare(one, other);
        return one === null || other === null ? order : down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  }
}
