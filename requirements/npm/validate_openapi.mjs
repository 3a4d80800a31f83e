// Validates the OpenAPI document on standard input.
import { readFileSync } from "node:fs";
import SwaggerParser from "@apidevtools/swagger-parser";

const api = await SwaggerParser.validate(JSON.parse(readFileSync(0, "utf8")));
console.log(`OpenAPI ${api.openapi}: ${Object.keys(api.paths).length} paths are valid`);
