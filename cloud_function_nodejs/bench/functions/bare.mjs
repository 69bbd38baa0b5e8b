// A function of functions-framework and nothing else.
export const main = (_req, res) => res.json({ rows: 3 });
