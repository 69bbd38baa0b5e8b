// Sphinx finds a page only if it has all words of the query. An error that you paste has words that the page does not have, such
// as the name of your bucket. If no page has all words, this finds the pages that have most of them.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const findAll = Search.performTermsSearch;
  Search.performTermsSearch = (terms, excluded) => {
    const complete = findAll(terms, excluded);
    if (complete.length) return complete;
    const found = new Map();
    for (const term of terms)
      for (const result of findAll(new Set([term]), excluded)) {
        const [page] = result;
        found.set(page, { result, count: (found.get(page)?.count ?? 0) + 1 });
      }
    const most = Math.max(...[...found.values()].map(({ count }) => count));
    return [...found.values()].filter(({ count }) => count === most).map(({ result }) => result);
  };
});
