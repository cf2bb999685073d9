// Prints what Khronos's validator finds in a file, as JSON: node gltf_validator.js MODULES FILE
const { readFileSync } = require('fs');
const { validateBytes } = require(`${process.argv[2]}/gltf-validator`);
validateBytes(new Uint8Array(readFileSync(process.argv[3])), { maxIssues: 0 }).then(
  report => console.log(JSON.stringify(report.issues)),
  error => { console.error(error); process.exit(1); });
