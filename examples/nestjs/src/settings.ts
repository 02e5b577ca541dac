/** What the application needs to know of its surroundings; all of it comes from the environment. */
function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see README.md`);
  return value;
}

export const settings = {
  port: Number(process.env.PORT ?? 3000),
  databaseUrl: required('DATABASE_URL'),
  /** Where browsers and this server reach pgchat. */
  pgchatUrl: process.env.PGCHAT_URL ?? 'http://127.0.0.1:8081',
  /** pgchat's JWT_SECRET: it checks the tokens that are made here. */
  jwtSecret: required('JWT_SECRET'),
  /** One of pgchat's SERVICE_TOKENS. It may act for any user, so it never leaves this server. */
  serviceToken: required('PGCHAT_SERVICE_TOKEN'),
};
