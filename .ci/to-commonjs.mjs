import ts from 'typescript';

const { factory } = ts;

/**
 * Converts an ES module to CommonJS. `import.meta.url` becomes the URL of the file, a relative import of an .mjs that of the .cjs
 * with the same name; strings are not changed.
 *
 * @param {string} code
 * @param {string} fileName for messages
 * @returns {string}
 */
export function toCommonJs(code, fileName) {
  const { outputText } = ts.transpileModule(code, {
    // TypeScript would keep an .mjs as an ES module
    fileName: fileName.replace(/\.mjs$/, '.js'),
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2022,
      esModuleInterop: true,
      allowJs: true,
      removeComments: true, // the ES modules keep them
    },
    transformers: { before: [(context) => (file) => ts.visitEachChild(file, visitor(context), context)] },
  });
  return outputText.replace(/\/\/# sourceMappingURL=\S*\s*$/, '');
}

/** @param {ts.TransformationContext} context */
function visitor(context) {
  /** @param {ts.Node} node @returns {ts.Node} */
  const visit = (node) => {
    if (ts.isPropertyAccessExpression(node) && isImportMeta(node.expression) && node.name.text === 'url')
      return fileUrl();
    if (isImportMeta(node))
      throw new Error(`import.meta has only its url in CommonJS: ${node.parent.getText()}`);
    return ts.visitEachChild(isImport(node) ? withTwin(node) : node, visit, context);
  };
  return visit;
}

/** @param {ts.Node} node */
function isImportMeta(node) {
  return (
    ts.isMetaProperty(node) && node.keywordToken === ts.SyntaxKind.ImportKeyword && node.name.text === 'meta'
  );
}

/** `require('node:url').pathToFileURL(__filename).href` */
function fileUrl() {
  const url = call(factory.createIdentifier('require'), factory.createStringLiteral('node:url'));
  const toUrl = factory.createPropertyAccessExpression(url, 'pathToFileURL');
  return factory.createPropertyAccessExpression(call(toUrl, factory.createIdentifier('__filename')), 'href');
}

/** @param {ts.Expression} func @param {ts.Expression} argument */
function call(func, argument) {
  return factory.createCallExpression(func, undefined, [argument]);
}

/** @param {ts.Node} node */
function isImport(node) {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return true;
  return ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
}

/** @param {ts.ImportDeclaration | ts.ExportDeclaration | ts.CallExpression} node */
function withTwin(node) {
  if (ts.isCallExpression(node))
    return factory.updateCallExpression(node, node.expression, undefined, node.arguments.map(twin));
  const from = node.moduleSpecifier && twin(node.moduleSpecifier);
  if (ts.isImportDeclaration(node))
    return factory.updateImportDeclaration(node, node.modifiers, node.importClause, from, node.attributes);
  const { modifiers, isTypeOnly, exportClause, attributes } = node;
  return factory.updateExportDeclaration(node, modifiers, isTypeOnly, exportClause, from, attributes);
}

/** @param {ts.Expression} specifier */
function twin(specifier) {
  if (!ts.isStringLiteral(specifier) || !/^\.{1,2}\/.*\.mjs$/.test(specifier.text)) return specifier;
  return factory.createStringLiteral(specifier.text.replace(/\.mjs$/, '.cjs'));
}
