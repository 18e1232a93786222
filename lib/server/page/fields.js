// The form's fields: one for each input of a signature, as JSON, as values that nobody writes, or as an
// image.

import { make, nameOf } from './dom.js';
import {
  countOf,
  cropOf,
  exampleSizes,
  exampleText,
  imageInput,
  imageText,
  isSendable,
  maxElements,
  numberText,
  rangesFor,
  readJson,
  shapeText,
} from './tensors.js';

/** What a signature is asked by. */
export function verbOf({ methodName }) {
  const [, verb] = /^tensorflow\/serving\/(classify|regress)$/.exec(methodName ?? '') ?? [];
  return verb ?? 'predict';
}

export function fieldsOf(signature) {
  if (verbOf(signature) !== 'predict') {
    const text = '[\n  {"x": 1.0}\n]';
    return [textField({ name: 'examples' }, 'tensorflow.Example, each its features by name', text)];
  }
  return signature.inputs.map((spec) => {
    if (spec.kind !== 'tensor' || !isSendable(spec.dtype)) {
      const kind = spec.kind === 'tensor' ? spec.dtype : spec.kind;
      return {
        name: spec.name,
        isFit: false,
        read: () => undefined,
        element: make(
          'p',
          { className: 'empty' },
          nameOf(spec.name),
          ` is ${kind}, which JSON does not carry here.`,
        ),
      };
    }
    return tensorField(spec);
  });
}

let lastId = 0;

/** A field of one input, with a place for what is wrong with it. */
function frame(name, note, ...children) {
  const trouble = make('p', { className: 'trouble', id: `trouble-${++lastId}`, role: 'alert' });
  const element = make(
    'fieldset',
    {},
    make('legend', {}, nameOf(name), make('span', { className: 'note' }, ` ${note}`)),
    ...children,
    trouble,
  );
  return { element, trouble };
}

function editor(label) {
  return make('textarea', {
    rows: 5,
    spellcheck: false,
    autocapitalize: 'off',
    'aria-label': label,
  });
}

function readText(area, trouble) {
  trouble.textContent = '';
  area.removeAttribute('aria-invalid');
  try {
    readJson(area.value);
    return area.value.trim();
  } catch (error) {
    trouble.textContent = `This is no JSON: ${error.message}`;
    area.setAttribute('aria-invalid', 'true');
    area.setAttribute('aria-describedby', trouble.id);
    area.focus();
    return undefined;
  }
}

function fitRows(area) {
  area.rows = Math.min(14, Math.max(2, area.value.split('\n').length));
}

function textField({ name }, note, text) {
  const area = editor(`JSON of ${name}`);
  area.value = text;
  fitRows(area);
  const { element, trouble } = frame(name, note, area);
  return { name, element, isFit: true, read: () => readText(area, trouble) };
}

function tensorField(spec) {
  const { name, dtype, shape } = spec;
  const image = imageInput(spec);
  const sizes = exampleSizes(shape);
  const text = exampleText(dtype, sizes);
  const kinds = [
    ...(image === undefined ? [] : [['image', 'Image']]),
    ...(text === undefined ? [] : [['json', 'JSON']]),
    ...(dtype === 'string' || dtype === 'bool'
      ? []
      : [
          ['random', 'Random'],
          ['zeros', 'Zeros'],
        ]),
  ];
  let kind = image?.isLikely
    ? 'image'
    : kinds.some(([each]) => each === 'json')
      ? 'json'
      : 'random';
  const body = make('div');
  const { element, trouble } = frame(name, `${dtype} ${shapeText(shape)}`);
  const parts = new Map();
  const part = () => {
    if (!parts.has(kind)) {
      parts.set(
        kind,
        kind === 'image'
          ? imagePart(spec, image, trouble)
          : kind === 'json'
            ? jsonPart(name, text, trouble)
            : fillPart(spec, sizes, kind, trouble),
      );
    }
    return parts.get(kind);
  };
  const show = () => {
    trouble.textContent = '';
    body.replaceChildren(part().element);
  };
  if (kinds.length > 1) {
    const group = `kind-${++lastId}`;
    const choices = kinds.map(([value, title]) => {
      const radio = make('input', { type: 'radio', name: group, value, checked: value === kind });
      radio.addEventListener('change', () => {
        kind = value;
        show();
      });
      return make('label', {}, radio, make('span', {}, title));
    });
    const choice = make(
      'div',
      { className: 'choice', role: 'radiogroup', 'aria-label': `Values of ${name}` },
      ...choices,
    );
    trouble.before(choice);
  }
  trouble.before(body);
  show();
  return { name, element, isFit: true, isImage: () => kind === 'image', read: () => part().read() };
}

function jsonPart(name, text, trouble) {
  const area = editor(`JSON of ${name}`);
  area.value = text;
  fitRows(area);
  return { element: area, read: () => readText(area, trouble) };
}

/** Values that nobody writes, of a size that somebody may choose. */
function fillPart({ dtype, shape }, sizes, kind, trouble) {
  const boxes = sizes.map((size, i) =>
    typeof shape[i] === 'number' && shape[i] >= 0
      ? undefined
      : sizeBox(`${shape[i] ?? `dimension ${i}`}`, size),
  );
  const open = boxes.filter((box) => box !== undefined);
  const what = kind === 'random' ? 'Random values' : 'Zeros';
  const element = make(
    'div',
    { className: 'fields' },
    make(
      'span',
      { className: 'note' },
      open.length === 0 ? `${what} of the shape above.` : `${what}, where the shape is open:`,
    ),
    ...open.map(({ label }) => label),
  );
  return {
    element,
    read: () => {
      const actual = sizes.map((size, i) => boxes[i]?.value() ?? size);
      const text = exampleText(dtype, actual, kind);
      trouble.textContent =
        text === undefined
          ? `${numberText(countOf(actual))} values are more than this page sends (${numberText(maxElements)}).`
          : '';
      return text;
    },
  };
}

function sizeBox(title, size) {
  const input = make('input', {
    type: 'number',
    min: '1',
    max: '100000',
    value: String(size),
    'aria-label': `Size of ${title}`,
  });
  const label = make('label', { className: 'size' }, nameOf(title), ' ', input);
  const value = () => Math.min(100_000, Math.max(0, Math.round(Number(input.value)) || 0));
  return { label, input, value };
}

/** A place to drop an image on, and how it becomes a tensor. */
function imagePart({ name, dtype }, { isBatch, options }, trouble) {
  const [first] = options;
  const canvas = make('canvas', {
    width: first.width ?? 224,
    height: first.height ?? 224,
    hidden: true,
    role: 'img',
    'aria-label': 'What the model sees',
  });
  const file = make('input', {
    type: 'file',
    accept: 'image/*',
    'aria-label': `Image for ${name}`,
  });
  const hint = make('span', {}, 'Drop an image here, or click to choose one');
  const drop = make('label', { className: 'drop' }, canvas, hint, file);
  const select = (entries) => make('select', {}, ...entries.map((each) => new Option(each, each)));
  const layout = select(options.map((each) => each.layout));
  const range = select(rangesFor(dtype));
  const inverted = make('input', { type: 'checkbox' });
  const height = first.height === undefined ? sizeBox('height', 224) : undefined;
  const width = first.width === undefined ? sizeBox('width', 224) : undefined;
  const element = make(
    'div',
    { className: 'image' },
    drop,
    make(
      'div',
      { className: 'fields' },
      ...(options.length > 1
        ? [make('label', {}, 'Layout ', layout)]
        : [make('span', { className: 'note' }, first.layout)]),
      make('label', {}, 'Values ', range),
      make('label', {}, inverted, ' Inverted'),
      ...[height, width].filter((box) => box !== undefined).map(({ label }) => label),
    ),
  );

  let bitmap;
  const chosen = () => options.find((each) => each.layout === layout.value) ?? first;
  const sizes = () => ({
    height: chosen().height ?? height?.value() ?? 0,
    width: chosen().width ?? width?.value() ?? 0,
  });
  const draw = () => {
    if (bitmap === undefined) return false;
    const to = sizes();
    if (to.height < 1 || to.width < 1 || to.height * to.width * 3 > maxElements) {
      trouble.textContent = `An image of ${to.width} × ${to.height} cannot be sent from this page.`;
      return false;
    }
    trouble.textContent = '';
    canvas.width = to.width;
    canvas.height = to.height;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.fillStyle = '#fff';
    context.fillRect(0, 0, to.width, to.height);
    context.imageSmoothingQuality = 'high';
    const from = cropOf(bitmap, to);
    context.drawImage(bitmap, from.x, from.y, from.width, from.height, 0, 0, to.width, to.height);
    if (chosen().channels === 1 || inverted.checked)
      recolor(context, to, chosen().channels === 1, inverted.checked);
    canvas.hidden = false;
    return true;
  };
  const take = async (given) => {
    if (given === undefined) return;
    try {
      bitmap = await createImageBitmap(given);
      hint.textContent = `${given.name}, ${bitmap.width} × ${bitmap.height}`;
      draw();
    } catch {
      trouble.textContent = `${given.name} is no image that this browser reads.`;
    }
  };
  file.addEventListener('change', () => void take(file.files[0]));
  drop.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    void take(event.dataTransfer.files[0]);
  });
  for (const control of [layout, inverted, height?.input, width?.input]) {
    control?.addEventListener('change', draw);
  }
  return {
    element,
    read: () => {
      if (bitmap === undefined) {
        trouble.textContent = 'An image is missing.';
        return undefined;
      }
      if (!draw()) return undefined;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return imageText(data, {
        ...sizes(),
        ...pick(chosen()),
        isBatch,
        range: range.value,
      });
    },
  };
}

const pick = ({ layout, channels }) => ({ layout, channels });

/** The canvas shows what the model gets. */
function recolor(context, { width, height }, isGray, isInverted) {
  const image = context.getImageData(0, 0, width, height);
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) {
    const gray = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    for (let c = 0; c < 3; c++) {
      const level = isGray ? gray : data[i + c];
      data[i + c] = isInverted ? 255 - level : level;
    }
  }
  context.putImageData(image, 0, 0);
}

// A file that misses its place must not be opened instead of this page.
for (const type of ['dragover', 'drop']) {
  window.addEventListener(type, (event) => event.preventDefault());
}
