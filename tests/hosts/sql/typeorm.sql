-- TypeORM 0.3.28; written by tests/hosts/generate.mjs
create extension if not exists "uuid-ossp";
CREATE TYPE "public"."users_role_enum" AS ENUM('buyer', 'developer', 'broker', 'admin', 'superadmin');
CREATE TABLE "users" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "email" character varying NOT NULL, "firstName" character varying, "lastName" character varying, "avatarUrl" character varying, "role" "public"."users_role_enum" NOT NULL DEFAULT 'buyer', "isActive" boolean NOT NULL DEFAULT true, "createdAt" TIMESTAMP NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP NOT NULL DEFAULT now(), "deletedAt" TIMESTAMP, CONSTRAINT "UQ_97672ac88f789774dd47f7c8be3" UNIQUE ("email"), CONSTRAINT "PK_a3ffb1c0c8416b9fc6f907b7433" PRIMARY KEY ("id"));
