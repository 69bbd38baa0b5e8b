// The same function with Google's client library loaded, as if this package used it.
import "@google-cloud/storage";

export const main = (_req, res) => res.json({ rows: 3 });
