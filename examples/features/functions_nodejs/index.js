// The function in Node.js that examples/features/nodejs.py calls.
import { pipesFunction } from "gcf-pipes";

export const orders = pipesFunction(async (req, pipes) => {
  const { rows } = req.body;
  pipes.log.info(`writing ${rows} rows`);
  await pipes.reportAssetMaterialization({ metadata: { rows }, dataVersion: `${rows} rows` });
  await pipes.reportAssetCheck({ checkName: "not_empty", passed: rows > 0 });
  return { rows };
});
