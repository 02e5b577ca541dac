import database from './database';
import { hash } from './auth/passwords';
import { Role, User } from './users/user.entity';

/** Three people to try it with; those who are there already stay as they are. */
async function seed() {
  await database.initialize();
  const passwordHash = await hash('correct horse');
  const people = [
    { email: 'ana@example.com', firstName: 'Ana', lastName: 'Novak', role: Role.Buyer },
    { email: 'ben@example.com', firstName: 'Ben', lastName: 'Osei', role: Role.Broker },
    { email: 'cleo@example.com', firstName: 'Cleo', lastName: 'Marsh', role: Role.Buyer },
  ];
  await database.createQueryBuilder().insert().into(User).values(people.map((person) => ({ ...person, passwordHash }))).orIgnore().execute();
  await database.destroy();
}

void seed();
