import { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateUsers1764000000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TYPE "users_role_enum" AS ENUM ('buyer', 'broker', 'developer', 'admin')`);
    await runner.query(`
      CREATE TABLE "users" (
        "id" uuid NOT NULL DEFAULT gen_random_uuid(),
        "email" character varying NOT NULL,
        "passwordHash" character varying NOT NULL,
        "firstName" character varying NOT NULL,
        "lastName" character varying NOT NULL,
        "avatarUrl" character varying,
        "role" "users_role_enum" NOT NULL DEFAULT 'buyer',
        "isActive" boolean NOT NULL DEFAULT true,
        "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
        CONSTRAINT "UQ_users_email" UNIQUE ("email"),
        CONSTRAINT "PK_users" PRIMARY KEY ("id")
      )`);
    await runner.query(`
      CREATE TABLE "viewings" (
        "id" uuid NOT NULL DEFAULT gen_random_uuid(),
        "key" character varying NOT NULL,
        "conversationId" uuid NOT NULL,
        "brokerId" uuid NOT NULL REFERENCES "users" ("id"),
        "at" TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT "UQ_viewings_key" UNIQUE ("brokerId", "key"),
        CONSTRAINT "PK_viewings" PRIMARY KEY ("id")
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE "viewings"`);
    await runner.query(`DROP TABLE "users"`);
    await runner.query(`DROP TYPE "users_role_enum"`);
  }
}
