import 'reflect-metadata';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule } from './app.module';
import { settings } from './settings';

async function main() {
  const app = await NestFactory.create<NestExpressApplication>(AppModule);
  app.useStaticAssets(join(__dirname, '../public'));
  app.enableShutdownHooks();
  await app.listen(settings.port, '127.0.0.1');
  console.log(`listening on ${await app.getUrl()}`);
}

void main();
