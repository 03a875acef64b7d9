'use strict';
// Everything that comes from models, files and Lean enters the page as text (textContent), never as markup.
(() => {
  const page = document.documentElement;
  const table = document.getElementById('problems');
  const bodies = Array.from(table.tBodies);
  const find = document.getElementById('find');
  const show = document.getElementById('show');
  const collator = new Intl.Collator('en', {numeric: true});
  let sorted = '', down = false;

  // Marks that turn the direction of writing are shown by their codes, as in the rest of the page.
  const plain = text => text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    c => '\u27e8U+' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + '\u27e9');

  const make = (tag, kind, text) => {
    const e = document.createElement(tag);
    if (kind) e.className = kind;
    if (text !== undefined) e.textContent = plain(text);
    return e;
  };
  const count = n => n.toLocaleString('en');
  const plural = (n, one) => count(n) + ' ' + one + (n === 1 ? '' : 's');

  // ---- the table ----

  const valueOf = (body, column) => {
    const cell = body.rows[0].cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent : value === '' ? Infinity : Number(value);
  };

  const sort = key => {
    const heads = Array.from(table.tHead.rows[0].cells);
    const column = heads.findIndex(h => h.dataset.sort === key);
    const sign = down ? -1 : 1;
    let order = bodies.slice();
    if (column >= 0) {
      const rows = bodies.map(body => ({body, value: valueOf(body, column)}));
      rows.sort((x, y) => sign * (typeof x.value === 'number' && typeof y.value === 'number'
        ? (x.value > y.value) - (x.value < y.value) : collator.compare(x.value, y.value)));
      order = rows.map(r => r.body);
    }
    heads.forEach((h, i) => {
      if (i === column) h.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else h.removeAttribute('aria-sort');
    });
    sorted = column >= 0 ? key : '';
    table.append(...order);
  };

  const filter = () => {
    const word = find.value.trim().toLowerCase();
    let seen = 0;
    for (const body of bodies) {
      const name = body.rows[0].cells[0].textContent.toLowerCase();
      body.hidden = !(name.includes(word) && (show.value === '' || body.dataset.group === show.value));
      seen += !body.hidden;
    }
    document.getElementById('shown').textContent =
      seen === bodies.length ? '' : count(seen) + ' of ' + count(bodies.length);
  };

  // What is shown, in the address: a link to the page can name it.
  const remember = () => {
    const state = new URLSearchParams();
    if (sorted) state.set('sort', (down ? '-' : '') + sorted);
    if (show.value) state.set('show', show.value);
    if (find.value) state.set('find', find.value);
    for (const body of bodies) {
      if (detailsOf(body).open) state.append('open', body.id);
    }
    history.replaceState(null, '', '#' + state);
  };

  const detailsOf = body => body.querySelector('details');

  const toggle = (body, open) => {
    detailsOf(body).open = open;
    body.querySelector('.name').setAttribute('aria-expanded', String(open));
  };

  const recall = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    const key = state.get('sort') || '';
    down = key.startsWith('-');
    find.value = state.get('find') || '';
    show.value = state.get('show') || '';
    if (key) sort(key.replace(/^-/, ''));
    filter();
    const wanted = new Set(state.getAll('open').concat(location.hash.slice(1)));
    for (const body of bodies) {
      if (wanted.has(body.id)) toggle(body, true);
    }
  };

  const prepareTable = () => {
    for (const head of table.tHead.rows[0].cells) {
      const button = make('button', '', head.textContent);
      button.type = 'button';
      button.addEventListener('click', () => {
        down = sorted === head.dataset.sort && !down;
        sort(head.dataset.sort);
        remember();
      });
      head.replaceChildren(button);
    }
    table.addEventListener('click', event => {
      const row = event.target.closest('tr.row');
      if (!row || String(getSelection()) !== '') return;
      event.preventDefault();
      const body = row.parentElement;
      toggle(body, !detailsOf(body).open);
      remember();
    });
    find.addEventListener('input', () => { filter(); remember(); });
    show.addEventListener('change', () => { filter(); remember(); });
    document.querySelector('.tools').hidden = false;
  };

  // ---- copying ----

  const copy = async button => {
    const proof = button.parentElement.querySelector('pre');
    let done = true;
    try {
      await navigator.clipboard.writeText(proof.textContent);
    } catch {
      getSelection().selectAllChildren(proof);
      done = document.execCommand('copy');
    }
    button.textContent = done ? 'Copied' : 'Select and copy';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  };

  // ---- search trees ----

  const CLOSED = 0, OPEN = 1, KINDS = ['closed', '', 'failed', 'out of time', 'lost'];
  const EXPANDED = 1, SOLVED = 2, DEAD = 4, PROOF = 8, MANY = 40;

  const inflate = async text => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return JSON.parse(await new Response(stream).text());
  };

  const read = async id => {
    const data = await inflate(document.getElementById(id).textContent);
    const steps = data.states.map(() => []);
    for (const [from, kind, logprob, tactic, message, ...children] of data.steps) {
      steps[from].push({kind, logprob, tactic: data.texts[tactic],
        message: message < 0 ? '' : data.texts[message], children});
    }
    const states = data.states.map(([flags, depth, score, left, goals], id) => ({id, flags, depth, score, left,
      goals: goals.map(lines => lines.map(line => data.texts[line]).join('\n')), steps: steps[id]}));
    return {title: data.title, end: data.end, states, cut: data.cut};
  };

  const target = goal => {
    const at = goal.lastIndexOf('\n\u22a2');
    return (at < 0 ? goal : goal.slice(at + 1)).replace(/\s+/g, ' ');
  };

  const score = x => x === null ? '' : x.toFixed(2).replace('-', '\u2212');

  // A list whose content is made when it is first opened.
  const lazy = (kind, summary, fill) => {
    const details = make('details', kind);
    const head = make('summary');
    head.append(...summary);
    details.append(head);
    details.addEventListener('toggle', () => {
      if (details.open && details.childElementCount === 1) fill(details);
    });
    return details;
  };

  // The first of a long list, and a button for the rest.
  const list = (items, draw) => {
    const ul = make('ul');
    const add = from => {
      ul.append(...items.slice(from, from + MANY).map(item => {
        const li = make('li');
        li.append(draw(item));
        return li;
      }));
      if (items.length > from + MANY) {
        const li = make('li'), button = make('button', '', plural(items.length - from - MANY, 'more'));
        button.textContent = count(items.length - from - MANY) + ' more';
        button.type = 'button';
        button.addEventListener('click', () => { li.remove(); add(from + MANY); });
        li.append(button);
        ul.append(li);
      }
    };
    add(0);
    return ul;
  };

  const solves = (tree, step) => (step.kind === CLOSED || step.kind === OPEN)
    && step.children.every(c => c >= 0 && tree.states[c].flags & SOLVED);

  const order = (tree, state) => state.steps.filter(s => s.kind <= OPEN).sort((x, y) =>
    solves(tree, y) - solves(tree, x) || (y.logprob || 0) - (x.logprob || 0));

  const drawFailed = step => {
    const div = make('div', 'step failed');
    div.append(make('code', '', step.tactic), ' ', make('span', 'mark', KINDS[step.kind]));
    if (step.message) div.append(make('pre', '', step.message));
    return div;
  };

  const drawStep = (tree, state, step, above) => {
    const proves = state.flags & PROOF && solves(tree, step) && step === order(tree, state)[0];
    const div = make('div', 'step' + (proves ? ' proves' : ''));
    div.append(make('code', '', step.tactic), ' ',
      make('span', 'mark', [score(step.logprob), KINDS[step.kind]].filter(Boolean).join(' \u00b7 ')));
    if (step.children.length > 0) {
      div.append(list(step.children, child => drawChild(tree, child, above, proves)));
    }
    return div;
  };

  const drawChild = (tree, child, above, proves) => {
    if (child < 0) return make('span', 'mark', 'a state that was not kept');
    if (above.includes(child)) return make('span', 'mark', 'state ' + child + ', above');
    return drawState(tree, tree.states[child], above, proves);
  };

  const words = state => [
    'state ' + state.id,
    state.score === null ? '' : 'score ' + score(state.score),
    state.flags & SOLVED ? 'solved' : state.flags & DEAD ? 'dead end' : state.flags & EXPANDED ? '' : 'not tried',
    state.goals.length > 1 ? state.goals.length + ' goals' : '',
  ].filter(Boolean).join(' \u00b7 ');

  const fillState = (tree, state, above, details) => {
    for (const goal of state.goals) details.append(make('pre', 'goal', goal));
    const good = order(tree, state), bad = state.steps.filter(s => s.kind > OPEN);
    if (good.length > 0) {
      details.append(list(good, step => drawStep(tree, state, step, above.concat(state.id))));
    }
    if (bad.length + state.left > 0) {
      const more = state.left > 0 ? ', ' + count(bad.length) + ' of them kept' : '';
      details.append(lazy('failed', [plural(bad.length + state.left, 'tactic') + ' failed' + more],
        inner => inner.append(list(bad, drawFailed))));
    }
  };

  const drawState = (tree, state, above, open) => {
    const details = lazy('state', [make('code', '', target(state.goals[0] || '')), ' ',
      make('span', 'mark', words(state))], inner => fillState(tree, state, above, inner));
    if (open) {
      fillState(tree, state, above, details);
      details.open = true;
    }
    return details;
  };

  const cutWords = tree => {
    const parts = [
      tree.cut.states > 0 ? plural(tree.cut.states, 'state') : '',
      tree.cut.steps > 0 ? plural(tree.cut.steps, 'tactic') + ' that led somewhere' : '',
      tree.cut.failed > 0 ? plural(tree.cut.failed, 'failed tactic') : '',
    ].filter(Boolean);
    return parts.length === 0 ? '' : ' Not kept: ' + parts.join(', ') + '.';
  };

  // The first state is the problem; those without a step to them (other parts of it) stand beside it.
  const roots = tree => {
    const reached = new Set(tree.states.flatMap(s => s.steps.flatMap(step => step.children)));
    return tree.states.filter(s => s.id === 0 || (s.depth === 0 && !reached.has(s.id)));
  };

  const openTree = async button => {
    const place = make('div', 'tree');
    button.disabled = true;
    try {
      const tree = await read(button.dataset.tree);
      place.append(make('p', 'note', 'The search ended ' + (tree.end === 'proved' ? 'with a proof'
        : tree.end === 'exhausted' ? 'with nothing left to try' : tree.end === 'budget' ? 'with its budget spent'
          : '(' + tree.end + ')') + '.' + cutWords(tree)),
      list(roots(tree), state => drawState(tree, state, [], true)));
      button.hidden = true;
    } catch (error) {
      place.append(make('p', 'note', typeof DecompressionStream === 'undefined'
        ? 'This browser is too old to open a search tree (it has no DecompressionStream).'
        : 'The search tree cannot be shown: ' + error.message));
      button.disabled = false;
    }
    button.after(place);
    page.dataset.tree = button.dataset.tree;
  };

  document.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (button && button.classList.contains('copy')) copy(button);
    else if (button && button.classList.contains('open-tree')) openTree(button);
  });
  for (const button of document.querySelectorAll('.copy, .open-tree')) button.hidden = false;
  page.classList.add('scripted');
  prepareTable();
  recall();
  addEventListener('hashchange', recall);
  requestAnimationFrame(() => { page.dataset.ready = performance.now().toFixed(1); });
})();
