// Prints, as JSON, keys and tokens as a NestJS host makes them: by `@nestjs/jwt` with the options of its documentation.
//
//   node tokens.mjs USER
import 'reflect-metadata';
import { generateKeyPairSync } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';

const [user] = process.argv.slice(2);
const secret = 'a secret of the host, 32 bytes or more';

const pair = (type, options) => {
  const { publicKey, privateKey } = generateKeyPairSync(type, options);
  return {
    pem: publicKey.export({ type: 'spki', format: 'pem' }),
    jwk: publicKey.export({ format: 'jwk' }),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
};

const asymmetric = async (algorithm, { pem, jwk, privateKey }) => {
  const jwt = new JwtService({ privateKey, signOptions: { algorithm, expiresIn: '15m' } });
  return {
    pem,
    jwk: { ...jwk, kid: algorithm, alg: algorithm, use: 'sig' },
    token: await jwt.signAsync({ sub: user, role: 'buyer' }),
    named: await jwt.signAsync({ sub: user }, { keyid: algorithm }),
    stranger: await jwt.signAsync({ sub: user }, { keyid: 'of another key' }),
  };
};

const jwt = new JwtService({ secret, signOptions: { expiresIn: '15m' } });
const all = {
  secret,
  hs256: await jwt.signAsync({ sub: user, email: 'alice@host.example' }),
  hs512: await jwt.signAsync({ sub: user }, { algorithm: 'HS512' }),
  userId: await jwt.signAsync({ userId: user }),
  checked: await jwt.signAsync({ sub: user }, { issuer: 'https://host.example', audience: ['chat', 'shop'] }),
  expired: await jwt.signAsync({ sub: user }, { expiresIn: '-1s' }),
  early: await jwt.signAsync({ sub: user }, { notBefore: '10m' }),
  endless: await new JwtService({ secret }).signAsync({ sub: user }),
  rs256: await asymmetric('RS256', pair('rsa', { modulusLength: 2048 })),
  es256: await asymmetric('ES256', pair('ec', { namedCurve: 'P-256' })),
};
console.log(JSON.stringify(all));
