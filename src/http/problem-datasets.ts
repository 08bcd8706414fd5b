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
