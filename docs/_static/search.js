// Sphinx finds a page only if it has all words of the query. An error that you paste has words that no page has, such as the name
// of your bucket. If no page has all words, this finds the pages that have most of them, and puts those with more words first.
// Three words or more are probably a part of an error. Then this finds the pages that have most words even if another page has all,
// and the pages that quote errors come first.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const SCORE = 4; // its place in a result
  const PAGES_OF_ERRORS = ["reference/errors", "operations/troubleshooting"];
  const findAll = Search.performTermsSearch;
  const withErrorsFirst = (result) => {
    if (PAGES_OF_ERRORS.includes(result[0])) result[SCORE] += 100;
    return result;
  };
  Search.performTermsSearch = (terms, excluded) => {
    const complete = findAll(terms, excluded);
    if (complete.length && terms.size < 3) return complete;
    const found = new Map();
    for (const term of terms)
      for (const result of findAll(new Set([term]), excluded)) {
        const [page] = result;
        result[SCORE] = (found.get(page)?.[SCORE] ?? 0) + 1;
        found.set(page, result);
      }
    const pages = [...found.values()];
    const most = Math.max(...pages.map((result) => result[SCORE]));
    return pages.filter((result) => result[SCORE] > 0.75 * most).map(withErrorsFirst);
  };
});
