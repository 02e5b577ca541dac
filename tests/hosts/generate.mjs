// Writes sql/*.sql: the users tables as TypeORM and Prisma themselves make them, which tests/it/hosts.rs uses.
//
//   npm ci && DATABASE_URL=postgresql://… node generate.mjs
//
// The database must be empty; it is only looked at. Prisma's SQL comes from its schema engine (the WebAssembly package of it,
// which needs no download besides npm's).

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as prisma from '@prisma/schema-engine-wasm/schema_engine_bg';
import typeorm from 'typeorm';
import naming from 'typeorm-naming-strategies';

const here = new URL('.', import.meta.url);
const versions = JSON.parse(readFileSync(new URL('package.json', here))).dependencies;
const write = (name, source, statements) =>
  writeFileSync(new URL(`sql/${name}.sql`, here), `-- ${source}; written by tests/hosts/generate.mjs\n${statements.join('\n')}\n`);

// A users entity as NestJS hosts have it: nullable names, a role more than pgchat's four, soft deletion.
const user = (more) =>
  new typeorm.EntitySchema({
    name: 'User',
    tableName: 'users',
    columns: {
      id: { type: 'uuid', primary: true, generated: 'uuid' },
      email: { type: String, unique: true },
      firstName: { type: String, nullable: true },
      lastName: { type: String, nullable: true },
      avatarUrl: { type: String, nullable: true },
      role: { type: 'enum', enum: ['buyer', 'developer', 'broker', 'admin', 'superadmin'], default: 'buyer' },
      isActive: { type: Boolean, default: true },
      createdAt: { type: 'timestamp', createDate: true },
      updatedAt: { type: 'timestamp', updateDate: true },
      deletedAt: { type: 'timestamp', deleteDate: true },
      ...more,
    },
  });

async function withTypeOrm(name, options, entity = user()) {
  const source = new typeorm.DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [entity], ...options });
  await source.initialize();
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  const extension = 'create extension if not exists "uuid-ossp";'; // its uuid_generate_v4(); made by initialize()
  write(name, `TypeORM ${versions.typeorm}`, [extension, ...upQueries.map((each) => `${each.query};`)]);
}

await withTypeOrm('typeorm', {});
await withTypeOrm('typeorm_snake_case', { namingStrategy: new naming.SnakeNamingStrategy() });

// What the package's own entry does, for which Node.js would need a flag.
const entry = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg');
const wasm = new WebAssembly.Module(readFileSync(entry.replace(/\.js$/, '.wasm')));
const instance = new WebAssembly.Instance(wasm, { './schema_engine_bg.js': prisma });
prisma.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();

for (const name of ['plain', 'mapped']) {
  const file = `prisma/${name}.prisma`;
  const schema = { files: [{ path: file, content: readFileSync(new URL(file, here), 'utf8') }] };
  const engine = await prisma.SchemaEngine.new(
    { datamodels: schema.files.map((each) => [each.path, each.content]) },
    () => {},
    bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: process.env.DATABASE_URL })),
  );
  const { stdout } = await engine.diff({
    from: { tag: 'empty' },
    to: { tag: 'schemaDatamodel', ...schema },
    shadowDatabaseUrl: null,
    script: true,
    exitCode: null,
    filters: { externalTables: [], externalEnums: [] },
  });
  write(`prisma_${name}`, `Prisma ${versions['@prisma/adapter-pg']}`, [stdout.trim()]);
}
