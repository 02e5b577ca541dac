-- A users table like that of a NestJS/TypeORM host with snake_case columns. Only the embedded database gets
-- it: everywhere else users live in the host system's own table, which pgchat reads and never creates.

do $$
begin
  create type users_role_enum as enum ('buyer', 'developer', 'broker', 'admin');
exception
  when duplicate_object then null;
end
$$;

create table if not exists users (
  id uuid primary key default gen_random_uuid(),
  first_name text not null,
  last_name text not null,
  email text not null unique,
  avatar_url text,
  role users_role_enum not null default 'buyer',
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
