// Judges requests by IAM policies. Reads documents, one JSON line each:
//
//   {"form": "identity" | "bucket", "holder": ARN, "policy": {…},
//    "requests": [{"principal": ARN, "action": "s3:GetObject", "resource": ARN, "account": id, "context": {…}}, …]}
//
// and answers each, in their order, with a line of one character per request, `A` for allowed and `D` for denied:
//
//   {"answers": "AADAD"} or {"error": "why the document or a request cannot be judged"}
//
// The simulator's own validation of a request takes time that grows with the square of its length, and comes to the same for
// each object. So it is asked once per action and kind of resource, and every SAMPLEth request is judged both ways; should
// the two differ, the document has no answer but an error.
import { createInterface } from 'node:readline';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy } from '@cloud-copilot/iam-policy';
import {
  allowedContextKeysForRequest,
  runSimulation,
  runUnsafeSimulation
} from '@cloud-copilot/iam-simulate';

const SAMPLE = 50;
// The condition keys that AWS has, by action and kind of resource.
const known = new Map();
// The bucket of another account lets everybody do everything: who waits for backups that come by mistake would have it so.
const openToAll = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: '*', Action: 's3:*', Resource: '*' }]
};

if (isMainThread) {
  await main();
} else {
  parentPort.postMessage(await judgeAll(workerData));
}

async function main() {
  const lines = [];
  for await (const line of createInterface({ input: process.stdin })) lines.push(line);
  const count = Math.max(1, Math.min(lines.length, availableParallelism()));
  const share = (worker) => lines.filter((_, at) => at % count === worker);
  const answers = await Promise.all(Array.from({ length: count }, (_, worker) => inThread(share(worker))));
  process.stdout.write(lines.map((_, at) => answers[at % count][Math.floor(at / count)] + '\n').join(''));
}

function inThread(lines) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: lines });
    worker.once('message', resolve).once('error', reject);
  });
}

async function judgeAll(lines) {
  const answers = [];
  for (const line of lines) {
    const document = JSON.parse(line);
    answers.push(JSON.stringify(await judge(document).catch((error) => ({ error: error.message }))));
  }
  return answers;
}

async function judge(document) {
  const policies = load(document);
  let answers = '';
  for (const [at, request] of document.requests.entries()) {
    const allowed = await isAllowed(policies, request);
    if (at % SAMPLE === 0 && allowed !== (await isAllowedByTheLongWay(policies, request))) {
      throw new Error(`the simulator disagrees with itself about ${JSON.stringify(request)}`);
    }
    answers += allowed ? 'A' : 'D';
  }
  return { answers };
}

function load({ form, holder, policy }) {
  const validated = (document, validate, name) => {
    const result = createValidatedPolicy(document, validate, { name });
    if (result.errors.length > 0) throw new Error(`${name}: ${JSON.stringify(result.errors)}`);
    return result;
  };
  const account = holder.split(':')[4];
  if (form === 'bucket') return { holder, account, bucket: validated(policy, validateResourcePolicy, 'bucket policy') };
  return {
    holder,
    account,
    identity: validated(policy, validateIdentityPolicy, 'identity policy'),
    openBucket: validated(openToAll, validateResourcePolicy, 'policy of another account')
  };
}

// A policy belongs to its holder: whoever else asks has none.
function simulation({ holder, account, identity, bucket, openBucket }, request) {
  const { principal, action, resource, context } = request;
  return {
    request: { principal, action, resource: { resource, accountId: request.account }, contextVariables: context },
    identityPolicies: identity && principal === holder ? [{ name: 'identity policy', policy: identity }] : [],
    resourcePolicy: bucket ?? (request.account === account ? undefined : openBucket),
    serviceControlPolicies: [],
    resourceControlPolicies: []
  };
}

async function isAllowed(policies, request) {
  const { action, resource, context } = request;
  if (resource === '*') return isAllowedByTheLongWay(policies, request);
  const keys = await contextKeys(action, sameKind(resource));
  const fitting = Object.entries(context).filter(([key]) => keys.has(generic(key.toLowerCase())));
  const fitted = { ...request, context: Object.fromEntries(fitting) };
  return runUnsafeSimulation(simulation(policies, fitted), {}) === 'Allowed';
}

async function isAllowedByTheLongWay(policies, request) {
  const result = await runSimulation(simulation(policies, request), {});
  if (result.resultType !== 'single') {
    throw new Error(`${request.action} on ${request.resource}: ${JSON.stringify(result.errors ?? result.resultType)}`);
  }
  return result.overallResult === 'Allowed';
}

// A key that names a tag stands in the list without that name.
function generic(key) {
  return key.replace(/^(aws|iam):(resourcetag|requesttag)\/.*$/, '$1:$2/${tagkey}');
}

// Wildcards in a request would ask for more than one resource, which no request to S3 does.
function sameKind(resource) {
  if (/[*?]/.test(resource)) throw new Error(`a request cannot have wildcards: ${resource}`);
  const [, beginning, key] = /^(arn:[^:]*:s3:::)[^/]*(\/)?/.exec(resource) ?? [];
  return beginning ? `${beginning}bucket${key ? '/key' : ''}` : resource;
}

// An error when there is no such action, or not for this kind of resource.
async function contextKeys(action, resource) {
  const name = `${action} ${resource}`;
  if (!known.has(name)) {
    const [service, verb] = action.split(':');
    const keys = await allowedContextKeysForRequest(service, verb, resource).catch((error) => {
      throw new Error(`${name}: ${error.message}`);
    });
    known.set(name, new Set(keys));
  }
  return known.get(name);
}
