// Filters the list of errors. The address can hold the choice (index.html?slices=noise&text=suite), so a filtered list has a link.
const form = document.querySelector("#errors form");
if (form) {
  const rows = [...document.querySelectorAll("#errors tbody tr")];
  const has = (row, key, wanted) => !wanted || row.dataset[key].split("\n").includes(wanted);
  const filter = () => {
    const { slices, metrics, text } = Object.fromEntries(new FormData(form));
    for (const row of rows) {
      const found = row.textContent.toLowerCase().includes(text.toLowerCase());
      row.hidden = !(found && has(row, "slices", slices) && has(row, "metrics", metrics));
    }
    form.querySelector("output").value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (form.elements[name]) form.elements[name].value = value;
  }
  form.hidden = false;
  form.addEventListener("input", filter);
  filter();
}
