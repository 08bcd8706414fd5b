/** What the codes of datasets and contributions mean over HTTP. */
export const datasetProblems = {
  'dataset/not-found': {
    status: 404,
    title: 'No such dataset',
    meaning: 'It does not exist, or the caller neither contributes to it nor asks of it.',
  },
  'dataset/exists': {
    status: 409,
    title: 'The name is taken',
    meaning: 'A dataset of the namespace has this name already.',
  },
  'dataset/conflict': {
    status: 409,
    title: 'Changed at the same time',
    meaning: 'Read the dataset’s epochs again, then decide whether the change still makes sense.',
  },
  'dataset/epoch-not-found': {
    status: 404,
    title: 'No such epoch',
    meaning: 'The dataset has no epoch of this number.',
  },
  'dataset/epoch-closed': {
    status: 409,
    title: 'The epoch is closed',
    meaning: 'It takes no contributions any more: fetch the key of the current one.',
  },
  'dataset/epoch-shredded': {
    status: 409,
    title: 'The epoch is shredded',
    meaning: 'Its secret key and what was contributed are gone.',
  },
  'dataset/epoch-open': {
    status: 409,
    title: 'The epoch is open',
    meaning: 'It still takes contributions: close it by opening the next, then ask.',
  },
  'dataset/query-not-found': {
    status: 404,
    title: 'No such query',
    meaning: 'It does not exist, or another analyst asked it.',
  },
  'dataset/query-refused': {
    status: 403,
    title: 'The dataset does not answer this',
    meaning:
      'Its policy does not allow it, it overlaps what was answered, or too few contributed: which one is not told.',
  },
  'dataset/budget-exhausted': {
    status: 409,
    title: 'The budget does not suffice',
    meaning: 'The answer costs more than is left to the caller; budgets of a dataset never grow.',
  },
  'contribution/refused': {
    status: 422,
    title: 'The contribution is refused',
    meaning:
      'It is not of the form, parameters, epoch, contributor and number that it is sent as. Nothing was kept.',
  },
  'contribution/exists': {
    status: 409,
    title: 'Contributed already',
    meaning: 'The caller has another contribution of this number in the epoch: each counts once.',
  },
  'contribution/too-many': {
    status: 409,
    title: 'Too many contributions',
    meaning: 'The epoch has as many as it takes, or a contributor may have fewer than this number.',
  },
} as const;
