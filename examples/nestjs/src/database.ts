import 'reflect-metadata';
import { DataSource, DataSourceOptions } from 'typeorm';
import { CreateUsers1764000000000 } from './migrations/1764000000000-create-users';
import { settings } from './settings';
import { User } from './users/user.entity';
import { Viewing } from './viewings/viewing.entity';

export const options: DataSourceOptions = {
  type: 'postgres',
  url: settings.databaseUrl,
  entities: [User, Viewing],
  migrations: [CreateUsers1764000000000],
  // TypeORM must not "synchronize" a database that it shares: of a table that has an entity, such as one for pgchat's messages, it
  // drops the columns, indexes, checks and foreign keys that the entity does not name.
  synchronize: false,
};

/** For TypeORM's command line. */
export default new DataSource(options);
