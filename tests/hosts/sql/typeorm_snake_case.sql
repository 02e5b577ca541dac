-- TypeORM 0.3.28; written by tests/hosts/generate.mjs
create extension if not exists "uuid-ossp";
CREATE TYPE "public"."users_role_enum" AS ENUM('buyer', 'developer', 'broker', 'admin', 'superadmin');
CREATE TABLE "users" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "email" character varying NOT NULL, "first_name" character varying, "last_name" character varying, "avatar_url" character varying, "role" "public"."users_role_enum" NOT NULL DEFAULT 'buyer', "is_active" boolean NOT NULL DEFAULT true, "created_at" TIMESTAMP NOT NULL DEFAULT now(), "updated_at" TIMESTAMP NOT NULL DEFAULT now(), "deleted_at" TIMESTAMP, CONSTRAINT "UQ_97672ac88f789774dd47f7c8be3" UNIQUE ("email"), CONSTRAINT "PK_a3ffb1c0c8416b9fc6f907b7433" PRIMARY KEY ("id"));
